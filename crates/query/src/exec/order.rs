//! Order among many values, in bounded steps: sorting, and finding the one at a rank. Between two looks at the deadline
//! at most [`QUERY_STEPS_BETWEEN_LOOKS`] values are compared, or as many sorted: the standard library's sort of 64
//! million takes seconds.
//!
//! Quicksort with three parts (Dijkstra's Dutch national flag), as equal timestamps are common; what is small is left
//! to the standard library. A pivot is the middle of a sample, so an order that somebody chose costs more passes, and
//! the deadline ends them.

use crate::limits::QUERY_STEPS_BETWEEN_LOOKS;
use std::{cmp::Ordering, ops::Range};

/// Values that a pivot is the middle of.
const SAMPLE: usize = 63;

/// Sorts; equal values are in no order.
pub(crate) fn sort<T, E>(
    values: &mut [T],
    compare: impl Fn(&T, &T) -> Ordering,
    mut look: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let whole = 0..values.len();
    let mut parts = vec![whole];
    while let Some(part) = parts.pop() {
        let of_part = &mut values[part.clone()];
        if part.len() <= QUERY_STEPS_BETWEEN_LOOKS {
            of_part.sort_unstable_by(&compare);
            look()?;
            continue;
        }
        let equal = partition(of_part, of_part.len() / 2, &compare, &mut look)?;
        let [mut smaller, mut larger] = [part.start..part.start + equal.start, part.start + equal.end..part.end];
        // The shorter of the two is on top: never are more than the logarithm of the length waiting.
        if smaller.len() < larger.len() {
            std::mem::swap(&mut smaller, &mut larger);
        }
        parts.extend([smaller, larger]);
    }
    Ok(())
}

/// Puts the value of this rank into its place, the smaller ones before it and the larger ones behind it. `rank` is
/// below the length.
pub(crate) fn select<T, E>(
    values: &mut [T],
    rank: usize,
    compare: impl Fn(&T, &T) -> Ordering,
    mut look: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut part = 0..values.len();
    while part.len() > QUERY_STEPS_BETWEEN_LOOKS {
        let equal = partition(&mut values[part.clone()], rank - part.start, &compare, &mut look)?;
        let equal = part.start + equal.start..part.start + equal.end;
        if equal.contains(&rank) {
            return Ok(());
        }
        part = if rank < equal.start { part.start..equal.start } else { equal.end..part.end };
    }
    values[part.clone()].select_nth_unstable_by(rank - part.start, &compare);
    look()
}

/// Puts the values that are smaller than one of about this rank before it, and the larger ones behind it. Returns where
/// those are that equal it; there is at least one.
fn partition<T, E>(
    values: &mut [T],
    rank: usize,
    compare: &impl Fn(&T, &T) -> Ordering,
    look: &mut impl FnMut() -> Result<(), E>,
) -> Result<Range<usize>, E> {
    let step = values.len() / SAMPLE;
    let mut sample: Vec<usize> = (0..SAMPLE).map(|number| number * step).collect();
    sample.sort_unstable_by(|&a, &b| compare(&values[a], &values[b]));
    // In 128 bits: a product of two lengths.
    let of_sample = usize::try_from(rank as u128 * SAMPLE as u128 / values.len() as u128).unwrap_or(SAMPLE / 2);
    values.swap(0, sample[of_sample.min(SAMPLE - 1)]);
    // Smaller before `equal`, the pivot's equals from there to `next`, not yet looked at up to `larger`.
    let (mut equal, mut next, mut larger) = (0, 1, values.len());
    let mut steps = 0;
    while next < larger {
        match compare(&values[next], &values[equal]) {
            Ordering::Less => {
                values.swap(next, equal);
                (equal, next) = (equal + 1, next + 1);
            }
            Ordering::Equal => next += 1,
            Ordering::Greater => {
                larger -= 1;
                values.swap(next, larger);
            }
        }
        steps += 1;
        if steps == QUERY_STEPS_BETWEEN_LOOKS {
            steps = 0;
            look()?;
        }
    }
    Ok(equal..next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{cell::Cell, convert::Infallible};

    const MANY: usize = 5 * QUERY_STEPS_BETWEEN_LOOKS;

    fn never() -> Result<(), Infallible> {
        Ok(())
    }

    /// Values in an order that depends on `seed`, of which about `kinds` differ.
    fn values(seed: u64, kinds: u64) -> Vec<u64> {
        let mix = |at: u64| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        (0..MANY as u64).map(|at| mix(at) % kinds).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn many_values_are_put_in_order(
            seed: u64,
            kinds in prop_oneof![1_u64..5, Just(1_000_u64), Just(u64::MAX)],
            rank in 0..MANY,
        ) {
            let mut sorted = values(seed, kinds);
            sorted.sort_unstable();
            let mut ours = values(seed, kinds);
            sort(&mut ours, u64::cmp, never).unwrap();
            prop_assert!(ours == sorted);
            // In order already, and backwards.
            sort(&mut ours, |a, b| b.cmp(a), never).unwrap();
            prop_assert!(ours.iter().rev().eq(&sorted));
            let mut ours = values(seed, kinds);
            select(&mut ours, rank, u64::cmp, never).unwrap();
            prop_assert_eq!(ours[rank], sorted[rank]);
        }
    }

    /// Counted in comparisons, and not in time.
    #[test]
    fn work_between_two_looks_is_bounded_and_ends_with_a_refusal() {
        // A sort of the last few thousand takes this many for each of them, and not more.
        const COMPARISONS_MAX: usize = 40 * QUERY_STEPS_BETWEEN_LOOKS;
        for is_sort in [true, false] {
            let (since_look, looks) = (Cell::new(0), Cell::new(0));
            let compare = |a: &u64, b: &u64| {
                since_look.set(since_look.get() + 1);
                assert!(since_look.get() <= COMPARISONS_MAX, "it goes on and on");
                a.cmp(b)
            };
            let look = || {
                since_look.set(0);
                looks.set(looks.get() + 1);
                if looks.get() == 3 { Err("over") } else { Ok(()) }
            };
            let mut many = values(1, u64::MAX);
            let ended =
                if is_sort { sort(&mut many, compare, look) } else { select(&mut many, MANY / 2, compare, look) };
            assert_eq!((ended, looks.get()), (Err("over"), 3));
        }
    }
}
