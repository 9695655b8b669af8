//! A sliding window of counts: how much was used lately, in slots of equal length.
//!
//! A window of 60 seconds is 61 slots of one second: the running one and the 60 before it. So whatever
//! interval of 60 seconds one looks at, its use was never more than the limit; in exchange what was used
//! is forgotten up to one slot late. A counter that starts anew every minute would let twice the limit
//! through around the turn of the minute.

/// Slots of a window: enough that forgetting up to one of them late costs a sixtieth of the limit, few
/// enough that a window is half a kilobyte.
const SLOTS: usize = 61;

/// Slots as a number of them.
const COUNT: u64 = SLOTS as u64;

/// How time is cut into slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// A stretch of so many seconds that slides along.
    Seconds(u64),
    /// The calendar month in UTC, as bills have it; it does not slide.
    Month,
}

/// A moment as a span sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The number of the slot.
    number: u64,
    /// How many slots before it, and itself, belong to the span.
    reach: u64,
    /// Length of a slot in seconds.
    seconds: u64,
    /// Seconds until the slot ends.
    left: u64,
}

impl Span {
    /// The slot of a moment in seconds since 1970.
    pub fn slot(self, now: u64) -> Slot {
        match self {
            Span::Seconds(length) => {
                let seconds = length.div_ceil(COUNT - 1).max(1);
                let reach = length.div_ceil(seconds) + 1;
                Slot { number: now / seconds, reach, seconds, left: seconds - now % seconds }
            }
            Span::Month => {
                let (number, left) = month(now);
                Slot { number, reach: 1, seconds: left, left }
            }
        }
    }
}

/// The number of a calendar month and the seconds until it ends.
fn month(now: u64) -> (u64, u64) {
    let seconds = i64::try_from(now).unwrap_or(i64::MAX);
    let moment =
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let number = u64::from(moment.year().unsigned_abs()) * 12 + u64::from(u8::from(moment.month()));
    let day = u64::from(moment.day());
    let days = u64::from(moment.month().length(moment.year()));
    (number, (days - day + 1) * 86_400 - now % 86_400)
}

/// What was used, slot by slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// The number of the latest slot that was written.
    newest: u64,
    /// A bit for each slot in which there is something, which of long spans few are: nobody looks at the others.
    filled: u64,
    slots: [u64; SLOTS],
}

impl Default for Window {
    fn default() -> Self {
        Self { newest: 0, filled: 0, slots: [0; SLOTS] }
    }
}

impl Window {
    /// How many bytes [`Window::write`] adds at most.
    pub const BYTES: usize = 8 * (SLOTS + 2);

    /// Reads what [`Window::write`] wrote, off the front of `bytes`, into an empty window: where it lies, for it is
    /// half a kilobyte. `None`: it wrote no such thing, and some of the window may be filled.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let mut number = || {
            let (head, rest) = bytes.split_first_chunk::<8>()?;
            *bytes = rest;
            Some(u64::from_le_bytes(*head))
        };
        (self.newest, self.filled) = (number()?, number()?);
        for index in bits(self.filled) {
            *self.slots.get_mut(index)? = number()?;
        }
        Some(())
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.newest.to_le_bytes());
        out.extend_from_slice(&self.filled.to_le_bytes());
        for slot in bits(self.filled).filter_map(|index| self.slots.get(index)) {
            out.extend_from_slice(&slot.to_le_bytes());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Whether this was written in the future, by a clock that has been put back since: it would stand
    /// until then.
    fn is_ahead(&self, slot: Slot) -> bool {
        self.newest.saturating_sub(COUNT) > slot.number
    }

    /// Moves on to a slot: what is too old to be remembered is forgotten. A clock that steps back a little,
    /// or that of another worker a little behind, changes nothing.
    fn advance(&mut self, slot: Slot) {
        if self.is_ahead(slot) {
            *self = Self { newest: slot.number, ..Self::default() };
        }
        if slot.number <= self.newest {
            return;
        }
        for number in self.newest.max(slot.number.saturating_sub(COUNT)) + 1..=slot.number {
            self.change(number, |_| 0);
        }
        self.newest = slot.number;
    }

    fn change(&mut self, number: u64, change: impl FnOnce(u64) -> u64) {
        let index = number % COUNT;
        if let Some(slot) = usize::try_from(index).ok().and_then(|index| self.slots.get_mut(index)) {
            *slot = change(*slot);
            self.filled = self.filled & !(1 << index) | u64::from(*slot != 0) << index;
        }
    }

    fn remembers(&self, number: u64) -> bool {
        number <= self.newest && self.newest - number < COUNT
    }

    /// Adds what is used now.
    pub fn add(&mut self, slot: Slot, amount: u64) {
        self.advance(slot);
        let number = slot.number.max(self.newest.saturating_sub(COUNT - 1));
        self.change(number, |count| count.saturating_add(amount));
    }

    /// Corrects what was added in an earlier slot: `added` was too much or too little, `real` is right. Does
    /// nothing for a slot that is forgotten.
    pub fn correct(&mut self, slot: Slot, added: u64, real: u64) {
        if !self.remembers(slot.number) {
            return;
        }
        self.change(slot.number, |count| count.saturating_sub(added).saturating_add(real));
    }

    /// What was used within the span that ends with the slot.
    pub fn used(&self, slot: Slot) -> u64 {
        self.within(slot).fold(0, |sum, (_, amount)| sum.saturating_add(amount))
    }

    /// Slots of the span in which there is something, oldest first, with what was used in them.
    fn within(&self, slot: Slot) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (oldest, filled) = self.span(slot);
        bits(filled).filter_map(move |offset| {
            let number = oldest + offset as u64;
            let amount = self.slots.get(usize::try_from(number % COUNT).ok()?)?;
            Some((number, *amount))
        })
    }

    /// The oldest slot of the span, and a bit for it and each that follows in which there is something.
    fn span(&self, slot: Slot) -> (u64, u64) {
        let newest = if self.is_ahead(slot) { slot.number } else { slot.number.max(self.newest) };
        let oldest = (newest + 1).saturating_sub(slot.reach).max((self.newest + 1).saturating_sub(COUNT));
        let count = (newest.min(self.newest) + 1).saturating_sub(oldest);
        // The ring from the oldest on, and on from its beginning.
        let first = oldest % COUNT;
        let ring = self.filled >> first | self.filled << (COUNT - first);
        (oldest, ring & ((1 << count) - 1))
    }

    /// Seconds until no more than `most` of what is used now still counts.
    pub fn seconds_until(&self, slot: Slot, most: u64) -> u64 {
        let mut used = self.used(slot);
        if used <= most {
            return 0;
        }
        for (number, amount) in self.within(slot) {
            used = used.saturating_sub(amount);
            if used <= most {
                return self.leaves(slot, number);
            }
        }
        slot.left
    }

    /// Seconds until nothing of what is used now still counts.
    pub fn seconds_until_empty(&self, slot: Slot) -> u64 {
        let (oldest, filled) = self.span(slot);
        filled.checked_ilog2().map_or(0, |last| self.leaves(slot, oldest + u64::from(last)))
    }

    /// Seconds until a slot leaves the span: when the one that follows its last slot begins.
    fn leaves(&self, slot: Slot, number: u64) -> u64 {
        let newest = slot.number.max(self.newest);
        let slots = (number + slot.reach).saturating_sub(newest).max(1);
        slot.left + (slots - 1) * slot.seconds
    }
}

/// The places of the bits that are set, the lowest first.
fn bits(mut left: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lowest < u64::BITS).then_some(lowest as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::Seconds(60);

    #[test]
    fn no_sixty_seconds_ever_hold_more_than_was_let_in() {
        // Whoever adds one whenever there is room for it below 10, as often as he can.
        let mut window = Window::default();
        let mut let_in = Vec::new();
        for now in 1_000_000..1_000_500u64 {
            for _ in 0..7 {
                let slot = MINUTE.slot(now);
                if window.used(slot) < 10 {
                    window.add(slot, 1);
                    let_in.push(now);
                }
            }
        }
        for start in 1_000_000..1_000_440u64 {
            // A minute that begins within second `start` ends within second `start + 60`.
            let count = let_in.iter().filter(|at| (start..=start + 60).contains(at)).count();
            assert!(count <= 10, "{count} from {start}");
        }
        assert!(let_in.len() >= 80, "only {} in 500 seconds", let_in.len());
    }

    #[test]
    fn it_says_when_there_is_room_again() {
        let mut window = Window::default();
        window.add(MINUTE.slot(1000), 6);
        window.add(MINUTE.slot(1030), 4);
        let now = MINUTE.slot(1040);
        assert_eq!(window.used(now), 10);
        for (most, seconds) in [(10, 0), (9, 21), (4, 21), (3, 51), (0, 51)] {
            assert_eq!(window.seconds_until(now, most), seconds, "{most}");
            assert!(most > 0 || window.seconds_until_empty(now) == seconds, "{most}");
            let then = MINUTE.slot(1040 + seconds);
            assert!(window.used(then) <= most, "{most}");
            if seconds > 0 {
                assert!(window.used(MINUTE.slot(1040 + seconds - 1)) > most, "{most}: earlier");
            }
        }
    }

    #[test]
    fn long_spans_have_longer_slots_and_short_ones_fewer() {
        for (length, reach, seconds) in
            [(30, 31, 1), (60, 61, 1), (3600, 61, 60), (2_592_000, 61, 43_200), (61, 32, 2)]
        {
            let slot = Span::Seconds(length).slot(1_767_323_045);
            assert_eq!((slot.reach, slot.seconds), (reach, seconds), "{length}");
            assert!(slot.reach <= COUNT && (slot.reach - 1) * slot.seconds >= length, "{length}");
        }
    }

    #[test]
    fn a_month_ends_with_the_calendars() {
        // 2024-02-29 23:59:50 UTC and ten seconds later.
        let (february, left) = month(1_709_251_190);
        assert_eq!(left, 10);
        assert_eq!(month(1_709_251_200), (february + 1, 31 * 86_400));
        let mut window = Window::default();
        window.add(Span::Month.slot(1_709_251_190), 5);
        assert_eq!(window.used(Span::Month.slot(1_709_251_190)), 5);
        assert_eq!(window.used(Span::Month.slot(1_709_251_200)), 0);
        assert_eq!(window.seconds_until(Span::Month.slot(1_709_251_190), 0), 10);
    }

    #[test]
    fn a_correction_finds_its_slot_or_is_too_late() {
        let mut window = Window::default();
        window.add(MINUTE.slot(1000), 100);
        window.add(MINUTE.slot(1010), 1);
        window.correct(MINUTE.slot(1000), 100, 30);
        assert_eq!(window.used(MINUTE.slot(1010)), 31);
        window.add(MINUTE.slot(1070), 2);
        window.correct(MINUTE.slot(1000), 30, 500);
        assert_eq!(window.used(MINUTE.slot(1070)), 3);
    }

    #[test]
    fn a_clock_that_steps_back_loses_nothing() {
        let mut window = Window::default();
        window.add(MINUTE.slot(1010), 1);
        window.add(MINUTE.slot(1000), 2);
        assert_eq!(window.used(MINUTE.slot(1000)), 3);
        assert_eq!(window.used(MINUTE.slot(1010)), 3);
        // By more than the window remembers: what was counted in that future does not stand until then.
        assert_eq!(window.used(MINUTE.slot(500)), 0);
        window.add(MINUTE.slot(500), 4);
        assert_eq!(window.used(MINUTE.slot(500)), 4);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut window = Window::default();
        for now in 990..1100 {
            window.add(MINUTE.slot(now), now);
        }
        let mut bytes = Vec::new();
        window.write(&mut bytes);
        assert_eq!(bytes.len(), Window::BYTES);
        let read = |mut bytes: &[u8]| {
            let mut window = Window::default();
            window.read(&mut bytes).map(|()| window)
        };
        assert_eq!(read(&bytes), Some(window));
        assert_eq!(read(&bytes[1..]), None);
    }
}
