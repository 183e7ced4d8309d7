//! The topics that two filters share, as one filter.

/// The filter that matches exactly what both match; `None` if nothing does.
///
/// One filter is always enough, since `#` stands at the end only [MQTT-4.7.1-2]. Both must begin with the same
/// literal level or with none that starts with `$`, so that [MQTT-4.7.2-1] needs no case of its own.
pub(super) fn intersect(left: &str, right: &str) -> Option<String> {
    let mut shared = String::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (Some(left), Some(right));
    loop {
        match (left, right) {
            (None, None) | (None, Some("#")) | (Some("#"), None) => break,
            (Some("#"), Some(rest)) | (Some(rest), Some("#")) => {
                append(&mut shared, rest);
                break;
            }
            (None, Some(_)) | (Some(_), None) => return None,
            (Some(l), Some(r)) => {
                let ((l, l_rest), (r, r_rest)) = (split(l), split(r));
                append(&mut shared, both(l, r)?);
                (left, right) = (l_rest, r_rest);
            }
        }
    }
    shared.strip_prefix('/').map(str::to_owned)
}

fn split(filter: &str) -> (&str, Option<&str>) {
    match filter.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (filter, None),
    }
}

fn both<'a>(left: &'a str, right: &'a str) -> Option<&'a str> {
    match (left, right) {
        ("+", level) | (level, "+") => Some(level),
        (l, r) => (l == r).then_some(l),
    }
}

/// Every level is written behind a separator; the first one's is cut off at the end.
fn append(shared: &mut String, levels: &str) {
    shared.push('/');
    shared.push_str(levels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_shared_with_what_matches_all_below_it() {
        assert_eq!(intersect("a/#", "a").as_deref(), Some("a"));
        assert_eq!(intersect("a", "a/b"), None);
    }

    #[test]
    fn wildcards_yield_to_what_is_narrower() {
        assert_eq!(intersect("a/+/c/#", "a/b/#").as_deref(), Some("a/b/c/#"));
        assert_eq!(intersect("a/+", "a/#").as_deref(), Some("a/+"));
        assert_eq!(intersect("a/+/c", "a/b/d"), None);
    }

    #[test]
    fn empty_levels_are_levels() {
        assert_eq!(intersect("a//+", "a/+/c").as_deref(), Some("a//c"));
        assert_eq!(intersect("a/#", "a/").as_deref(), Some("a/"));
        assert_eq!(intersect("a/+", "a"), None);
    }
}
