//! In which order the places of a model are tried: by the operator's order and weights, and by what they said last.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::resolve::Target;
use crate::base::host::{Host, Stamp};

/// A place where a request may go; lives as long as the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Index of the backend.
    pub backend: usize,
    /// The provider's own name of the model.
    pub model: String,
    /// What the model is, where its name does not tell.
    pub family: Option<String>,
    /// Takes longer requests than those before it, and is only for those.
    pub wider: bool,
    /// The name of the model that stands in for the one asked for, whose limits count then.
    pub stands_in: Option<String>,
}

impl Choice {
    pub fn new(target: &Target<'_>, wider: bool) -> Self {
        Self {
            backend: target.backend,
            model: target.model.to_owned(),
            family: target.family.map(str::to_owned),
            wider,
            stands_in: None,
        }
    }
}

/// Chance, as far as weights need it. Not for secrets.
pub struct Dice<'d> {
    request_id: &'d str,
    now: &'d dyn Fn() -> SystemTime,
    /// Absent until they are first thrown: most models have one place.
    state: Option<u64>,
}

impl<'d> Dice<'d> {
    /// Envoy's id of the request is as good as random, and the time does where there is none.
    pub fn new(request_id: &'d str, now: &'d dyn Fn() -> SystemTime) -> Self {
        Self { request_id, now, state: None }
    }

    /// A number below `end`, which is not zero. SplitMix64: prng.di.unimi.it/splitmix64.c.
    fn below(&mut self, end: u64) -> u64 {
        let state = self.state.unwrap_or_else(|| self.seed()).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state = Some(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(end).unwrap_or_default()
    }

    fn seed(&self) -> u64 {
        let time = (self.now)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        #[allow(clippy::cast_possible_truncation, reason = "the lower half is what changes")]
        let seed = hash(self.request_id.as_bytes()) ^ time as u64;
        seed
    }
}

/// FNV-1a: datatracker.ietf.org/doc/html/draft-eastlake-fnv.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Puts targets in the order in which they are tried: by their order, and among those of one order drawn by weight.
/// Those without weight come last in it, as they are written.
pub fn arrange(targets: &mut [Target<'_>], dice: &mut Dice<'_>) {
    targets.sort_by_key(|target| target.order);
    let mut rest = targets;
    while let Some(first) = rest.first() {
        let order = first.order;
        let same = rest.iter().take_while(|target| target.order == order);
        let (count, sum) =
            same.fold((0, 0u64), |(count, sum), target| (count + 1, sum + u64::from(target.weight)));
        if count > 1 && sum > 0 {
            let mut drawn = dice.below(sum);
            let found = rest.iter().position(|target| {
                let here = drawn < u64::from(target.weight);
                drawn = drawn.saturating_sub(u64::from(target.weight));
                here
            });
            if let Some(head) = found.and_then(|found| rest.get_mut(..=found)) {
                head.rotate_right(1);
            }
        }
        let Some((_, behind)) = rest.split_first_mut() else { return };
        rest = behind;
    }
}

/// The longest time that a backend is left alone for. What asks for more is asked again now and then.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The backends that have asked for a pause, by backend and model, in shared data. The models of one backend share
/// so many keys: their names may be a client's, and shared data never shrinks.
const KEYS: u64 = 64;

fn key(backend: &str, model: &str) -> String {
    format!("fairlead.pause.{backend}.{}", hash(model.as_bytes()) % KEYS)
}

/// Leaves a model of a backend alone for some time.
pub fn pause(host: &dyn Host, backend: &str, model: &str, time: Duration) {
    let until = millis(host.now()).saturating_add(time.min(LONGEST_PAUSE).as_millis());
    // Whoever writes last says it: workers hear much the same.
    let _ = host.set_shared(&key(backend, model), until.to_string().as_bytes(), Stamp::NOTHING);
}

/// Whether a model of a backend is left alone.
pub fn is_paused(host: &dyn Host, backend: &str, model: &str) -> bool {
    let (value, _) = host.shared(&key(backend, model));
    let until = value.and_then(|value| std::str::from_utf8(&value).ok()?.parse::<u128>().ok());
    until.is_some_and(|until| millis(host.now()) < until)
}

fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(backend: usize, order: u32, weight: u32) -> Target<'static> {
        Target { backend, provider: "bedrock/", model: "m", owner: "bedrock", family: None, order, weight }
    }

    fn drawn(targets: &[Target<'static>], dice: &mut Dice<'_>) -> Vec<usize> {
        let mut targets = targets.to_vec();
        arrange(&mut targets, dice);
        targets.iter().map(|target| target.backend).collect()
    }

    #[test]
    fn the_first_of_an_order_is_drawn_by_weight_within_two_percent() {
        let targets = [target(0, 1, 3), target(1, 2, 1), target(2, 1, 1), target(3, 1, 0)];
        let mut first = [0u32; 4];
        for number in 0..10_000 {
            let id = format!("0af7-{number}");
            let order = drawn(&targets, &mut Dice::new(&id, &|| UNIX_EPOCH));
            assert_eq!(order.get(2..), Some(&[3, 1][..]), "{order:?}");
            first[order[0]] += 1;
        }
        assert!((7300..7700).contains(&first[0]), "{first:?}");
        assert_eq!(first[1] + first[3], 0, "{first:?}");
    }

    #[test]
    fn equal_weights_order_every_way_alike() {
        let targets = [target(0, 1, 1), target(1, 1, 1), target(2, 1, 1)];
        let mut counts = std::collections::BTreeMap::new();
        let mut dice = Dice::new("", &|| UNIX_EPOCH);
        for _ in 0..6000 {
            *counts.entry(drawn(&targets, &mut dice)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
