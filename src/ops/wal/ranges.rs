//! Sets of segment numbers as ranges: a ledger may name more of them than could be counted out.

use std::ops::RangeInclusive;

/// Numbers as ranges.
pub type Ranges = Vec<RangeInclusive<u64>>;

/// The same numbers, ascending, in as few ranges as there can be.
pub fn merged(mut ranges: Ranges) -> Ranges {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| *range.start());
    let mut merged: Ranges = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// What of `whole` is in none of `parts`. Both must be merged.
pub fn without(whole: &Ranges, parts: &Ranges) -> Ranges {
    let mut left = Vec::new();
    for range in whole {
        let mut from = Some(*range.start());
        let first = parts.partition_point(|part| part.end() < range.start());
        for part in parts.iter().skip(first).take_while(|part| part.start() <= range.end()) {
            if let Some(start) = from
                && start < *part.start()
            {
                left.push(start..=part.start() - 1);
            }
            from = part.end().checked_add(1);
        }
        if let Some(start) = from
            && start <= *range.end()
        {
            left.push(start..=*range.end());
        }
    }
    left
}

/// How many numbers there are.
pub fn count(ranges: &Ranges) -> u64 {
    ranges.iter().fold(0, |sum, range| sum.saturating_add((range.end() - range.start()).saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn some() -> impl Strategy<Value = Ranges> {
        proptest::collection::vec((0u64..60, 0u64..9).prop_map(|(first, more)| first..=first + more), 0..8)
    }

    fn set(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn ranges_are_sets(a in some(), b in some()) {
            let (left, right) = (merged(a.clone()), merged(b.clone()));
            prop_assert_eq!(set(&left), set(&a));
            prop_assert!(left.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
            prop_assert_eq!(count(&left), set(&a).len() as u64);
            let rest = without(&left, &right);
            prop_assert_eq!(set(&rest), set(&a).difference(&set(&b)).copied().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn the_largest_numbers_are_no_trouble() {
        let all = vec![0..=u64::MAX];
        assert_eq!(merged(vec![3..=u64::MAX, 0..=5]), all);
        assert_eq!(without(&all, &vec![5..=u64::MAX]), vec![0..=4]);
        assert_eq!(without(&all, &all), Ranges::new());
        assert_eq!(count(&all), u64::MAX);
    }
}
