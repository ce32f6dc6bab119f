//! A map that keeps what was used last.

use std::collections::HashMap;
use std::hash::Hash;

/// At most so many values; when there are twice as many, the half that was not used for longest goes.
pub struct Kept<K, V> {
    values: HashMap<K, (V, u64)>,
    used: u64,
    most: usize,
}

impl<K: Copy + Eq + Hash, V: Clone> Kept<K, V> {
    /// An empty map that holds `most` values, and never twice as many.
    pub fn new(most: usize) -> Self {
        Kept { values: HashMap::new(), used: 0, most: most.max(1) }
    }

    /// The value of `key`, which is thereby used.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.used += 1;
        let (value, used) = self.values.get_mut(key)?;
        *used = self.used;
        Some(value.clone())
    }

    /// Keeps `value`.
    pub fn keep(&mut self, key: K, value: V) {
        self.used += 1;
        self.values.insert(key, (value, self.used));
        if self.values.len() >= 2 * self.most {
            let mut times: Vec<u64> = self.values.values().map(|(_, used)| *used).collect();
            let (_, oldest, _) = times.select_nth_unstable(self.most);
            let oldest = *oldest;
            self.values.retain(|_, (_, used)| *used >= oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn what_was_used_last_stays() {
        let mut kept = Kept::new(2);
        for key in 0..3 {
            kept.keep(key, key * 10);
        }
        assert_eq!(kept.get(&0), Some(0));
        kept.keep(3, 30);
        assert_eq!((kept.get(&0), kept.get(&3)), (Some(0), Some(30)));
        assert_eq!((kept.get(&1), kept.get(&2)), (None, None));
        for key in 0..1000 {
            kept.keep(key, key);
            assert!(kept.values.len() <= 4);
        }
    }
}
