//! "Did you mean …?": the nearest known word by edit distance.

/// The nearest of `known` to `word`, when it is near enough to be a slip of the finger.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0 | 1 => return None,
        2..=4 => 1,
        5..=8 => 2,
        9..=64 => 3,
        _ => return None,
    };
    let folded = fold(word);
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letter case, and `-` against `_`, are the commonest slips of all and cost nothing.
fn fold(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours count 1 each.
fn distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut rows: [Vec<usize>; 3] = [vec![0; width], (0..width).collect(), vec![0; width]];
    for (i, x) in a.iter().enumerate() {
        let [older, old, new] = &mut rows;
        if let Some(first) = new.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (get(old, j) + usize::from(x != y)).min(get(old, j + 1) + 1).min(get(new, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(get(older, j - 1) + 1);
            }
            if let Some(cell) = new.get_mut(j + 1) {
                *cell = best;
            }
        }
        rows.rotate_left(1);
    }
    let [_, last, _] = &rows;
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["ports", "image", "depends_on", "environment", "healthcheck"];
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("depends-on", known), Some("depends_on"));
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("Image", known), Some("image"));
        assert_eq!(nearest("imgae", known), Some("image"));
        assert_eq!(nearest("kubernetes", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn a_swap_counts_once() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("abc"), &chars("")), 3);
    }
}
