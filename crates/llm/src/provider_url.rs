//! Addresses below a configured base URL.

use parlance_outbound::Url;

/// `base` with path segments added; its query is kept. A base that already names the endpoint, as
/// copied from a provider's manual, is accepted as it is.
pub(crate) fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    let path = base.path().trim_end_matches('/');
    if path.ends_with(&format!("/{}", segments.join("/"))) {
        url.set_path(path);
        return url;
    }
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.pop_if_empty().extend(segments);
    }
    url
}

/// [`below`], with `default_path` first where the base has no path, such as `https://host`.
pub(crate) fn below_or_default(base: &Url, default_path: &str, segments: &[&str]) -> Url {
    if base.path() != "/" {
        return below(base, segments);
    }
    let mut with_path = base.clone();
    with_path.set_path(default_path);
    below(&with_path, segments)
}

#[cfg(test)]
mod tests {
    use super::{below, below_or_default};

    #[test]
    fn segments_are_added_once() {
        for (base, expected) in [
            ("https://h/v1", "https://h/v1/chat/completions"),
            ("https://h/v1/", "https://h/v1/chat/completions"),
            ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
            ("https://h/v1/?a=b", "https://h/v1/chat/completions?a=b"),
            ("https://h", "https://h/chat/completions"),
        ] {
            assert_eq!(below(&base.parse().unwrap(), &["chat", "completions"]).as_str(), expected);
        }
        assert_eq!(below_or_default(&"https://h".parse().unwrap(), "/v1", &["m"]).as_str(), "https://h/v1/m");
        assert_eq!(below_or_default(&"https://h/p".parse().unwrap(), "/v1", &["m"]).as_str(), "https://h/p/m");
        assert_eq!(below(&"https://h".parse().unwrap(), &["a/../b?"]).as_str(), "https://h/a%2F..%2Fb%3F");
    }
}
