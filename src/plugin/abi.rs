//! The host calls, with every status mapped: nothing here can panic.
//!
//! The SDK's own wrappers panic on statuses they do not expect, and a panic ends the VM for all streams
//! of a worker. So the imports of the proxy-wasm ABI 0.2.1 are declared again and read with care:
//! github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1.
#![allow(unsafe_code, reason = "the ABI is C; every pointer handed out lives for its call only")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};
use zeroize::Zeroizing;

use crate::base::headers::Headers;
use crate::base::host::{OWN_DETAILS, Reply, Stamp};

const OK: u32 = 0;

/// `proxy_continue_stream` takes these for a stream's two sides.
const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanoseconds: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        most: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(buffer: u32, start: usize, length: usize, data: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        size: usize,
        data: *mut *mut u8,
        length: *mut usize,
    ) -> u32;
    fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, size: usize) -> u32;
    fn proxy_get_property(path: *const u8, size: usize, data: *mut *mut u8, length: *mut usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        size: usize,
        data: *mut *mut u8,
        length: *mut usize,
        stamp: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, size: usize, data: *const u8, length: usize, stamp: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, metric: *mut u32) -> u32;
    fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_set_property(path: *const u8, size: usize, value: *const u8, length: usize) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_register_shared_queue(name: *const u8, size: usize, queue: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(queue: u32, data: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(pointers: *mut *mut u8, bytes: *mut u8) -> u32;
}

/// Takes over what the host allocated for us through `malloc`.
fn taken(status: u32, data: *mut u8, size: usize) -> Option<Vec<u8>> {
    if status != OK {
        return None;
    }
    if data.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: the host asked the SDK's `malloc` for exactly `size` bytes and gives them away.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}

pub fn log(level: LogLevel, message: &str) {
    unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// The host's clock; 1970 should it fail.
pub fn now() -> SystemTime {
    let mut nanoseconds = 0;
    unsafe { proxy_get_current_time_nanoseconds(&mut nanoseconds) };
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// Sets how often the root context's `on_tick` is called; zero: never.
pub fn tick_every(period: Duration) {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    unsafe { proxy_set_tick_period_milliseconds(millis) };
}

/// The first bytes of a buffer.
pub fn buffer(buffer: BufferType, most: usize) -> Option<Vec<u8>> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = unsafe { proxy_get_buffer_bytes(buffer as u32, 0, most, &mut data, &mut size) };
    taken(status, data, size)
}

/// Replaces all of a buffer.
pub fn set_buffer(buffer: BufferType, bytes: &[u8]) -> bool {
    let status =
        unsafe { proxy_set_buffer_bytes(buffer as u32, 0, u32::MAX as usize, bytes.as_ptr(), bytes.len()) };
    status == OK
}

/// The value of one header; `None` when it is not there or empty.
pub fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status =
        unsafe { proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), &mut data, &mut size) };
    taken(status, data, size).filter(|value| !value.is_empty())
}

/// Reads a whole header map.
pub fn headers(map: MapType) -> Option<Headers> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &mut data, &mut size) };
    read_pairs(&taken(status, data, size)?)
}

/// The ABI's form of a map: a count, the lengths of all names and values, then each of them with a zero
/// behind it. Numbers are 32 bits, little end first.
fn read_pairs(bytes: &[u8]) -> Option<Headers> {
    if bytes.is_empty() {
        return Some(Headers::default());
    }
    let number = |at: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let count = number(0)?;
    let mut at = count.checked_mul(8)?.checked_add(4)?;
    let mut headers = Headers::default();
    for index in 0..count {
        let lengths = index.checked_mul(8)?.checked_add(4)?;
        let mut next = |length: usize| -> Option<&[u8]> {
            let end = at.checked_add(length)?;
            let text = bytes.get(at..end)?;
            at = end.checked_add(1)?;
            Some(text)
        };
        let name = next(number(lengths)?)?;
        let value = next(number(lengths.checked_add(4)?)?)?;
        headers.0.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    Some(headers)
}

fn write_pairs<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a [u8])> + Clone) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&number(pairs.len()));
    for (name, value) in pairs.clone() {
        bytes.extend_from_slice(&number(name.len()));
        bytes.extend_from_slice(&number(value.len()));
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes
}

/// Replaces a whole header map, so that nothing of it remains.
pub fn set_headers(map: MapType, headers: &Headers) -> bool {
    let bytes = write_pairs(headers.0.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    unsafe { proxy_set_header_map_pairs(map as u32, bytes.as_ptr(), bytes.len()) == OK }
}

pub fn remove_header(map: MapType, name: &str) {
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// An attribute of Envoy's; `None` for all that cannot be had.
pub fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &mut data, &mut size) };
    taken(status, data, size)
}

pub fn shared(key: &str) -> (Option<Vec<u8>>, Stamp) {
    let (mut data, mut size, mut stamp) = (std::ptr::null_mut(), 0, 0);
    let status = unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &mut data, &mut size, &mut stamp) };
    match taken(status, data, size) {
        Some(value) => (Some(value), Stamp(stamp)),
        None => (None, Stamp::NOTHING),
    }
}

pub fn set_shared(key: &str, value: &[u8], stamp: Stamp) -> bool {
    let status =
        unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), stamp.0) };
    status == OK
}

/// A metric of this name; the same for all workers, though each has a number of its own for it.
pub fn metric(kind: MetricType, name: &str) -> Option<u32> {
    let mut metric = 0;
    let status = unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut metric) };
    (status == OK).then_some(metric)
}

/// Adds to a counter that [`metric`] gave.
pub fn add(metric: u32, by: u64) {
    unsafe { proxy_increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX)) };
}

/// Adds a value to a histogram that [`metric`] gave.
pub fn record(metric: u32, value: u64) {
    unsafe { proxy_record_metric(metric, value) };
}

/// Sets a text in the filter state, under `wasm.` and this name.
pub fn set_property(name: &str, value: &str) {
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Lets a request go on that was paused.
pub fn resume_request() -> bool {
    unsafe { proxy_continue_stream(REQUEST) == OK }
}

/// Lets a reply go on that was paused.
pub fn resume_response() -> bool {
    unsafe { proxy_continue_stream(RESPONSE) == OK }
}

/// A queue of this name; its root context's `on_queue_ready` is called, on this thread, for what is put there.
/// Gives Envoy's number of it, which no other queue of the process has.
pub fn queue(name: &str) -> Option<u32> {
    let mut queue = 0;
    let status = unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &mut queue) };
    (status == OK).then_some(queue)
}

/// Puts an empty message into a queue.
pub fn enqueue(queue: u32) -> bool {
    unsafe { proxy_enqueue_shared_queue(queue, std::ptr::null(), 0) == OK }
}

/// Takes a message out of a queue. `false`: there was none.
pub fn dequeue(queue: u32) -> bool {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    let status = unsafe { proxy_dequeue_shared_queue(queue, &mut data, &mut size) };
    taken(status, data, size).is_some()
}

/// Makes host calls act on another context than the one that was called.
pub fn act_for(context: u32) -> bool {
    unsafe { proxy_set_effective_context(context) == OK }
}

/// Answers in place of the upstream. Envoy sends it when the callback has returned.
pub fn send(reply: &Reply) -> bool {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
    send_local(reply.status, &write_pairs(headers), &reply.body)
}

/// Answers with a reply that has all its headers: Envoy adds the length and the status by itself.
pub fn send_whole(headers: &Headers, body: &[u8]) -> bool {
    let own = |name: &str| !name.starts_with(':') && name != "content-length";
    let pairs = headers.0.iter().filter(|(name, _)| own(name));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    send_local(headers.status(), &write_pairs(pairs.into_iter()), body)
}

fn send_local(status: u16, headers: &[u8], body: &[u8]) -> bool {
    let details = OWN_DETAILS;
    let status = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    };
    status == OK
}

/// The environment variables that `vm_config.environment_variables` hands over, as `NAME=value`.
pub fn environment() -> Vec<Zeroizing<String>> {
    let (mut count, mut size) = (0, 0);
    if unsafe { environ_sizes_get(&mut count, &mut size) } != OK || count == 0 {
        return Vec::new();
    }
    let mut pointers = vec![std::ptr::null_mut(); count];
    let mut bytes = Zeroizing::new(vec![0u8; size]);
    if unsafe { environ_get(pointers.as_mut_ptr(), bytes.as_mut_ptr()) } != OK {
        return Vec::new();
    }
    // The host writes the strings one after another, each with a zero behind it.
    let strings = bytes.split(|byte| *byte == 0).filter(|bytes| !bytes.is_empty());
    strings.map(|bytes| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned())).collect()
}
