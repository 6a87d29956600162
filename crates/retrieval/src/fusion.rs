//! Reciprocal rank fusion of ranked lists (Cormack, Clarke and Büttcher, 2009).

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of the paper: how much the first ranks are levelled.
const K: f32 = 60.0;

/// Fuses `lists`, each ordered best first, into one: the score of an item is the sum of
/// 1 / (60 + rank) over the lists it is in, with ranks from 1. Ordered by score, best first; equal
/// ones in the order of the items themselves. An item that occurs again in the same list counts at
/// its first place.
///
/// ```
/// let by_text = ["a", "b", "c"];
/// let by_meaning = ["b", "d"];
/// let fused = parlance_retrieval::fuse(&[&by_text[..], &by_meaning[..]]);
/// assert_eq!(fused.iter().map(|(item, _)| *item).collect::<Vec<_>>(), ["b", "a", "d", "c"]);
/// ```
pub fn fuse<T: Copy + Eq + Hash + Ord>(lists: &[&[T]]) -> Vec<(T, f32)> {
    let mut scores: HashMap<T, (f32, usize)> = HashMap::new();
    for (list_number, list) in lists.iter().enumerate() {
        let mut rank = K;
        for item in *list {
            let (score, counted) = scores.entry(*item).or_insert((0.0, 0));
            if *counted <= list_number {
                rank += 1.0;
                *score += 1.0 / rank;
                *counted = list_number + 1;
            }
        }
    }
    let mut fused: Vec<(T, f32)> = scores.into_iter().map(|(item, (score, _))| (item, score)).collect();
    fused.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_in_both_lists_wins_and_ties_are_ordered() {
        assert_eq!(fuse(&[&[1, 2], &[3, 2]]).iter().map(|hit| hit.0).collect::<Vec<_>>(), [2, 1, 3]);
        assert!((fuse(&[&[7], &[7]])[0].1 - 2.0 / 61.0).abs() < 1e-6);
    }

    #[test]
    fn a_repeated_item_counts_once_and_takes_no_rank() {
        assert_eq!(fuse(&[&[1, 1, 2]]), fuse(&[&[1, 2]]));
        assert!(fuse::<u8>(&[]).is_empty());
    }
}
