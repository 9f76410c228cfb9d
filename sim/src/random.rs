//! Random numbers that are the same everywhere: xoshiro256**, seeded by SplitMix64 from a seed and the name of a stream.
//!
//! Each concern of a run (scheduling, network, workload, faults, options) draws from a stream of its own, so that a change in
//! how one of them draws leaves the others as they were and a seed keeps most of its meaning.

/// One stream.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// The stream called `name` of that seed.
    pub fn new(seed: u64, name: &str) -> Random {
        let mut state = name.bytes().fold(seed ^ 0x706F_6C79_6769_6C21, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(17)
        });
        Random(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// In `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// In `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// True `permille` times in 1000. Draws nothing when that is 0, so that what is off costs nothing.
    pub fn chance(&mut self, permille: u64) -> bool {
        permille > 0 && self.below(1000) < permille
    }

    /// In (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Between low and high, small ones as often as large ones: each factor of two is as likely as the next.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let doublings = (high / low).max(1).ilog2() + 1;
        let base = low << self.below(u64::from(doublings));
        self.between(base, (base * 2 - 1).min(high).max(base)).min(high)
    }

    /// An exponentially distributed time with that mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        (-ln(self.unit()) * mean as f64) as u64
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// The natural logarithm of a number in (0, 1], from basic operations only: a machine's own may differ in the last bit.
pub fn ln(number: f64) -> f64 {
    let bits = number.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as f64 - 1023.0;
    let mantissa = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF) | 0x3FF0_0000_0000_0000);
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..20).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    exponent * std::f64::consts::LN_2 + 2.0 * ratio * series
}

/// A hash of bytes that is the same everywhere. For comparing, not for security.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(state, u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(state, u64::from_le_bytes(last))
}

/// Folds a number into a hash.
#[inline]
pub fn mix(state: u64, number: u64) -> u64 {
    let wide = u128::from(state ^ 0x2D35_8DCC_AA6C_78A5) * u128::from(number ^ 0x8BB8_4B93_962E_ACC9);
    (wide as u64) ^ ((wide >> 64) as u64) ^ state.rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, name| (0..4).map(|_| 0).scan(Random::new(seed, name), |r, _: i32| Some(r.bits())).collect();
        let first: Vec<u64> = draw(1, "network");
        assert_eq!(first, draw(1, "network") as Vec<u64>);
        assert_ne!(first, draw(1, "workload") as Vec<u64>);
        assert_ne!(first, draw(2, "network") as Vec<u64>);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut random = Random::new(7, "test");
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((5..=9).contains(&random.between(5, 9)));
            assert!((1..=1000).contains(&random.spread(1, 1000)));
            assert!(random.unit() > 0.0);
        }
        assert!(!random.chance(0) && random.chance(1000));
    }

    #[test]
    fn the_logarithm_is_one() {
        for number in [1.0, 0.5, 0.25, 0.999, 0.1, 1e-9, 1.5e-16] {
            assert!((ln(number) - f64::ln(number)).abs() < 1e-12, "{number}");
        }
    }

    #[test]
    fn the_hash_tells_apart_what_differs() {
        let texts: [&[u8]; 6] = [b"", b"\0", b"a", b"ab", b"12345678", b"123456789"];
        let mut hashes: Vec<u64> = texts.iter().map(|text| hash(0, text)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), texts.len());
    }
}
