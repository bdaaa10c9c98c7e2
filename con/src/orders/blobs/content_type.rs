//! What bytes are, as far as their beginning tells. Pure.

/// Of which nothing is known.
pub const BYTES: &str = "application/octet-stream";
/// JSON.
pub const JSON: &str = "application/json";
/// The longest content type that is kept.
const LONGEST: usize = 200;
/// A text that is longer is not looked at as JSON.
const JSON_BYTES: usize = 1 << 20;

/// The content type of bytes, by how they begin; JSON must be whole, and short of 1 MiB.
pub fn sniffed(bytes: &[u8]) -> &'static str {
    let begins = |with: &[u8]| bytes.starts_with(with);
    if begins(b"\x89PNG\r\n\x1a\n") {
        "image/png"
    } else if begins(b"\xff\xd8\xff") {
        "image/jpeg"
    } else if begins(b"GIF87a") || begins(b"GIF89a") {
        "image/gif"
    } else if begins(b"BM") && bytes.len() > 26 && bytes[6..10] == [0; 4] {
        "image/bmp"
    } else if matches!(bytes, [b'P', b'1'..=b'6', b' ' | b'\n' | b'\r' | b'\t', ..]) {
        "image/x-portable-anymap"
    } else if is_json(bytes) {
        JSON
    } else {
        BYTES
    }
}

fn is_json(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    let may_be = matches!(
        text.first(),
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
    );
    may_be
        && bytes.len() < JSON_BYTES
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Whether a browser would run what such bytes hold.
pub fn is_active(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    ["html", "svg", "xml", "javascript", "ecmascript", "script"]
        .iter()
        .any(|part| kind.contains(part))
}

/// Whether a text can be a content type that is kept and given back: visible ASCII with a `/` in it.
pub fn is_content_type(text: &str) -> bool {
    let visible = |byte: u8| (b' '..=b'~').contains(&byte);
    text.len() <= LONGEST && text.contains('/') && text.bytes().all(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_known_by_how_they_begin() {
        let bmp = [&b"BM\x46\0\0\0\0\0\0\0"[..], &[0; 40]].concat();
        for (bytes, content_type) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a..", "image/gif"),
            (&bmp, "image/bmp"),
            (b"P6\n2 2\n255\n", "image/x-portable-anymap"),
            (b" {\"a\": [1]}\n", JSON),
            (b"-1.5", JSON),
            (b"", BYTES),
            (b"BMW", BYTES),
            (b"P6", BYTES),
            (b"{\"a\"", BYTES),
            (b"\x89PNG", BYTES),
        ] {
            assert_eq!(sniffed(bytes), content_type, "{bytes:?}");
        }
    }

    #[test]
    fn what_a_browser_would_run_is_known() {
        for active in [
            "text/html",
            "TEXT/HTML; charset=utf-8",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/javascript",
        ] {
            assert!(is_active(active), "{active}");
        }
        for calm in ["image/png", "text/plain", "application/json", BYTES] {
            assert!(!is_active(calm), "{calm}");
        }
    }

    #[test]
    fn what_could_end_a_header_is_no_content_type() {
        assert!(is_content_type("text/plain; charset=utf-8"));
        for wrong in [
            "",
            "png",
            "a/b\r\nx: y",
            "a/ü",
            &format!("a/{}", "b".repeat(200)),
        ] {
            assert!(!is_content_type(wrong), "{wrong}");
        }
    }
}
