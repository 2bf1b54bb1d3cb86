//! How much is proved: a little in `tests/run`, more in `tests/proof`, by the same code.

/// A number from the environment, such as `KEYWARD_PROOF_KILLS`, or the small one.
#[allow(clippy::disallowed_methods, reason = "the tests' own settings")]
pub fn number(name: &str, small: u32) -> u32 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")),
        Err(_) => small,
    }
}

/// Numbers that look random and are the same each time for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number from 0 to `below`, exclusive.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}
