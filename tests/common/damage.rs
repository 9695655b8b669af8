//! Accidents: what networks, other programs and bad wills do to the bytes of a test.

use serde_json::value::RawValue;

/// Whether bytes are JSON that a cloud would read; half a surrogate pair counts, as it does for them.
pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

/// Bytes with one to four accidents: what networks, other programs and bad wills do to JSON and frames.
pub fn damage(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    const TOKENS: &[&[u8]] = &[
        b"null",
        b"true",
        b"-1",
        b"1e999",
        b"12345678901234567890123",
        b"\"\"",
        b"[]",
        b"{}",
        b"[[[[",
        b"\"\\ud83d\"",
        b"\\",
        b"\"",
        b",",
        b":",
        b"\xff",
        b"\x00",
        "\u{2028}".as_bytes(),
        b"data: ",
        b"\n\n",
        b"\r",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let to = (at + chance.below(24)).min(bytes.len());
        match chance.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..to)),
            2 => drop(bytes.splice(at..at, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            3 => drop(bytes.splice(at..to, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            _ => {
                let copy = bytes[at..to].to_vec();
                let target = chance.below(bytes.len() + 1);
                bytes.splice(target..target, copy);
            }
        }
    }
    bytes
}

/// SplitMix64: the same numbers for the same case and round, on every machine.
pub struct Chance(u64);

impl Chance {
    pub fn new(name: &str, round: u64) -> Self {
        let seed = name.bytes().fold(round, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Self(seed)
    }

    /// A number from 0 up to, but not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = z ^ (z >> 31);
        usize::try_from(number % (end.max(1) as u64)).unwrap()
    }
}
