//! Addresses that services and outputs name: whether anybody could be reached there.

use url::Url;

/// Whether a text is a URL of a scheme (`http`, `redis`) that names a host; else what is wrong, in words.
pub(crate) fn check(text: &str, scheme: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        let right = format!(
            "it must be `{scheme}://HOST` or `{scheme}://HOST:PORT`, and a path if need be"
        );
        Err(format!("`{text}` is no address: {why}; {right}"))
    };
    let Some(rest) = text
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_prefix("://"))
    else {
        return wrong(&format!("it does not begin with `{scheme}://`"));
    };
    // Those who follow the standard for browsers take the path for the host.
    if rest.is_empty() || rest.starts_with(['/', '\\', '?', '#', ':']) {
        return wrong("it names no host");
    }
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return wrong("it has a blank in it");
    }
    match Url::parse(text) {
        Ok(url) if url.host_str().is_none_or(str::is_empty) => wrong("it names no host"),
        Ok(url) if url.port() == Some(0) => wrong("nobody listens on port 0"),
        Ok(_) => Ok(()),
        Err(error) => wrong(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_at_which_somebody_could_be_are_taken() {
        for text in [
            "http://localhost",
            "http://10.0.0.1:8080/tasks?x=1",
            "http://[::1]:80/",
            "http://user:secret@site.example/a%20b",
        ] {
            assert_eq!(check(text, "http"), Ok(()), "{text}");
        }
        for (text, why) in [
            ("http://", "names no host"),
            ("http:///p", "names no host"),
            ("http://:80/", "names no host"),
            ("http://a b/", "has a blank"),
            ("http://a/\tb", "has a blank"),
            ("http://x:99999/", "invalid port number"),
            ("http://x:0/", "port 0"),
            ("http://x:y/", "invalid port number"),
            ("http://[::1/", "invalid IPv6 address"),
            ("https://x/", "does not begin with `http://`"),
            ("localhost", "does not begin with `http://`"),
        ] {
            let detail = check(text, "http").expect_err(text);
            assert!(detail.contains(why), "{detail}");
        }
        assert_eq!(check("redis://localhost:6379/0", "redis"), Ok(()));
        assert!(check("redis:///0", "redis").is_err());
    }
}
