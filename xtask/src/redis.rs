//! What the demo asks Redis: how many rows of each kind there are. A few lines of its protocol
//! spare the tool a client crate.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// What there is of one kind, for example of `node:health`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Its keys.
    pub(crate) keys: usize,
    /// Its values: one per plain key, all the elements of a sorted set.
    pub(crate) rows: usize,
}

/// The rows of the local Redis at `port`, by kind: the key without its last part.
pub(crate) fn rows(port: u16) -> anyhow::Result<BTreeMap<String, Count>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("Redis is gone")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut redis = BufReader::new(stream);
    let Reply::Texts(keys) = ask(&mut redis, &["KEYS", "*"])? else {
        bail!("Redis answered KEYS with a number");
    };
    let mut counts = BTreeMap::<String, Count>::new();
    for key in keys {
        let rows = match is_sorted_set(&key) {
            true => match ask(&mut redis, &["ZCARD", &key])? {
                Reply::Number(number) => number,
                Reply::Texts(_) => bail!("Redis answered ZCARD with a list"),
            },
            false => 1,
        };
        let count = counts.entry(kind(&key).to_owned()).or_default();
        count.keys += 1;
        count.rows += rows;
    }
    Ok(counts)
}

fn kind(key: &str) -> &str {
    key.rsplit_once(':').map_or(key, |(kind, _)| kind)
}

fn is_sorted_set(key: &str) -> bool {
    key.starts_with("performance:") || key.starts_with("node:health:")
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Number(usize),
    Texts(Vec<String>),
}

fn ask(redis: &mut BufReader<TcpStream>, words: &[&str]) -> anyhow::Result<Reply> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    redis.get_mut().write_all(request.as_bytes())?;
    reply(redis)
}

/// Reads a number or a list of texts.
fn reply(from: &mut impl BufRead) -> anyhow::Result<Reply> {
    match line(from)? {
        (':', number) => Ok(Reply::Number(number.parse()?)),
        ('*', length) => {
            let texts = (0..length.parse::<usize>()?).map(|_| text(from));
            Ok(Reply::Texts(texts.collect::<Result<_, _>>()?))
        }
        ('-', error) => bail!("Redis: {error}"),
        (other, rest) => bail!("Redis answered `{other}{rest}`"),
    }
}

fn text(from: &mut impl BufRead) -> anyhow::Result<String> {
    let ('$', length) = line(from)? else {
        bail!("Redis listed something that is no text");
    };
    let mut bytes = vec![0; length.parse::<usize>()? + 2];
    from.read_exact(&mut bytes)?;
    bytes.truncate(bytes.len() - 2);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn line(from: &mut impl BufRead) -> anyhow::Result<(char, String)> {
    let mut line = String::new();
    from.take(64 << 10).read_line(&mut line)?;
    let mut letters = line.trim_end().chars();
    let first = letters.next().context("Redis closed the connection")?;
    Ok((first, letters.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_of_texts_are_read() {
        assert_eq!(reply(&mut &b":42\r\n"[..]).unwrap(), Reply::Number(42));
        let list = reply(&mut &b"*2\r\n$3\r\na:b\r\n$0\r\n\r\n"[..]).unwrap();
        assert_eq!(list, Reply::Texts(vec!["a:b".to_owned(), String::new()]));
    }

    #[test]
    fn errors_and_broken_answers_are_errors() {
        for wrong in [
            "",
            "-ERR no\r\n",
            ":x\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$9\r\nshort",
        ] {
            assert!(reply(&mut wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn keys_of_the_mirror_are_counted_by_kind() {
        assert_eq!(kind("node:health:7d"), "node:health");
        assert_eq!(kind("instance:last_update"), "instance");
        assert_eq!(kind("domain_info:domain_id"), "domain_info");
        assert!(is_sorted_set("performance:function_execution_time:7d"));
        assert!(!is_sorted_set("nodes:capabilities:7d"));
    }
}
