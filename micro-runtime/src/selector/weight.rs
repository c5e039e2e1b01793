//! The weight of a node, which its service writes into its metadata.

use crate::registry::Node;

/// The key of a node's metadata.
const KEY: &str = "weight";

/// Weights are held in thousandths.
const UNIT: f64 = 1_000.0;

/// The weight of a node that says nothing.
pub(super) const ONE: u32 = 1_000;

/// The largest weight.
const MAX: f64 = 1e6;

/// The weight that a node says it has, in thousandths; the text if it is none.
pub(super) fn of(node: &Node) -> Result<u32, &str> {
    let Some(text) = node.metadata.get(KEY) else {
        return Ok(ONE);
    };
    match text.trim().parse::<f64>() {
        // Anything above zero is to get something.
        Ok(weight) if weight > 0.0 && weight <= MAX => Ok((weight * UNIT).ceil() as u32),
        Ok(0.0) => Ok(0),
        _ => Err(text),
    }
}

/// Where each of some nodes ends, if they were laid one after the other, each as long as its weight. `None` if
/// all of them have the same.
pub(super) fn ends(weights: impl Iterator<Item = u32> + Clone) -> Option<Box<[u64]>> {
    let first = weights.clone().next()?;
    if weights.clone().all(|weight| weight == first) {
        return None;
    }
    let mut end = 0;
    Some(
        weights
            .map(|weight| {
                end += u64::from(weight);
                end
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Result<u32, String> {
        let node = Node {
            metadata: [(KEY.to_owned(), text.to_owned())].into(),
            ..Node::default()
        };
        of(&node).map_err(str::to_owned)
    }

    #[test]
    fn a_weight_is_a_number_from_zero() {
        assert_eq!(of(&Node::default()), Ok(1_000));
        for (text, weight) in [
            ("0", 0),
            ("0.0", 0),
            ("1", 1_000),
            (" 2.5 ", 2_500),
            ("0.0001", 1),
            ("1000000", 1_000_000_000),
        ] {
            assert_eq!(of_text(text), Ok(weight), "{text}");
        }
        for text in ["", "-1", "1000001", "NaN", "inf", "ten", "1,5"] {
            assert_eq!(of_text(text), Err(text.to_owned()));
        }
    }

    #[test]
    fn equal_weights_need_no_list() {
        assert_eq!(ends([7, 7, 7].into_iter()), None);
        assert_eq!(ends([].into_iter()), None);
        assert_eq!(ends([1, 0, 5].into_iter()), Some([1, 1, 6].into()));
    }
}
