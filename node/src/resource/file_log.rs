//! `file-log`: each message becomes a line of a file, written in batches.
//!
//! A payload is written as it is, then a line feed. What was answered is with the operating
//! system; it survives the end of the agent, not a power cut.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use edgeless_dataflow::{Answer, Factory};
use edgeless_types::resource::{Configurations, file_log::Settings};

use super::{
    Counters,
    mailbox::{self, Delivery, Mailbox, Owner, Replies},
};

/// Lines that are written at once.
const BATCH: usize = 256;

/// Opens the file of an instance below `directory`.
///
/// # Errors
/// A setting is wrong, the file would be elsewhere, or it cannot be opened; in words.
pub(super) async fn prepare(
    directory: PathBuf,
    configurations: &Configurations,
    owner: Owner,
    counters: Arc<Counters>,
) -> Result<Factory, String> {
    let settings = Settings::read(configurations).map_err(|problem| problem.to_string())?;
    let name = settings.filename.clone();
    let opened = tokio::task::spawn_blocking(move || open(&directory, &settings.filename)).await;
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(error)) => return Err(format!("could not open the log file `{name}`: {error}")),
        Err(error) => return Err(format!("could not open the log file `{name}`: {error}")),
    };
    let log = Log {
        name,
        lines: Some(Lines::new(file)),
        add_timestamp: settings.add_timestamp,
        counters,
        failing: false,
    };
    Ok(mailbox::factory(owner, |mailbox, replies| {
        log.run(mailbox, replies)
    }))
}

/// Opens a file for appending; refuses one that a symbolic link leads out of `directory`.
fn open(directory: &Path, filename: &str) -> io::Result<File> {
    let path = directory.join(filename);
    let parent = path.parent().unwrap_or(directory);
    std::fs::create_dir_all(parent)?;
    let base = directory.canonicalize()?;
    let escapes = |path: &Path| {
        path.canonicalize()
            .is_ok_and(|real| !real.starts_with(&base))
    };
    if escapes(parent) || escapes(&path) {
        return Err(io::Error::other("it lies outside the node's log directory"));
    }
    OpenOptions::new().create(true).append(true).open(path)
}

struct Log {
    name: String,
    /// Absent while a blocking thread writes.
    lines: Option<Lines>,
    add_timestamp: bool,
    counters: Arc<Counters>,
    failing: bool,
}

/// A file and what is about to be written to it.
struct Lines {
    file: File,
    buffer: Vec<u8>,
    /// A write ended in the middle of a line.
    torn: bool,
}

impl Log {
    async fn run(mut self, mut mailbox: Mailbox, replies: Replies) {
        let mut batch = Vec::with_capacity(BATCH);
        while mailbox.take(&mut batch, BATCH).await > 0 {
            let written = self.write(&batch).await;
            self.report(&written, batch.len());
            let answer = match &written {
                Ok(()) => Answer::Reply(Bytes::new()),
                Err(error) => Answer::Error(format!("could not write to `{}`: {error}", self.name)),
            };
            let handled = batch.drain(..).map(|delivery| (delivery, answer.clone()));
            replies.finish(handled).await;
        }
    }

    async fn write(&mut self, batch: &[Delivery]) -> io::Result<()> {
        let Some(mut lines) = self.lines.take() else {
            return Err(io::Error::other("an earlier write did not come back"));
        };
        for delivery in batch {
            lines.add(delivery, self.add_timestamp);
        }
        let write = move || {
            let written = lines.write();
            (lines, written)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok((lines, written)) => {
                self.lines = Some(lines);
                written
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn report(&mut self, written: &io::Result<()>, number: usize) {
        let number = number as u64;
        match written {
            Ok(()) => {
                self.counters
                    .lines_written
                    .fetch_add(number, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(file = self.name, "the log file can be written again");
                }
            }
            Err(error) => {
                self.counters
                    .lines_lost
                    .fetch_add(number, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(file = self.name, %error, "could not write; lines are lost and counted");
                }
            }
        }
    }
}

impl Lines {
    fn new(file: File) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            torn: false,
        }
    }

    fn add(&mut self, delivery: &Delivery, add_timestamp: bool) {
        if add_timestamp {
            write!(self.buffer, "{} ", delivery.created).expect("memory takes all");
        }
        self.buffer.extend_from_slice(&delivery.payload);
        self.buffer.push(b'\n');
    }

    fn write(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.file.write_all(&self.buffer);
        self.torn = written.is_err();
        self.buffer.clear();
        // One giant message must not hold its memory for ever.
        self.buffer.shrink_to(1 << 20);
        written
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::Timestamp;

    use super::*;
    use crate::resource::mailbox::Unfinished;

    fn delivery(text: &'static str) -> Delivery {
        Delivery {
            source: crate::resource::testing::pid(9),
            payload: Bytes::from_static(text.as_bytes()),
            created: Timestamp::from_nanos(1_000_000_002),
            begin: Timestamp::default(),
            tracked: None,
            call: None,
            unfinished: Unfinished::nobodys(),
        }
    }

    #[test]
    fn lines_are_appended_with_their_moment_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        for add_timestamp in [false, true] {
            let mut lines = Lines::new(open(directory.path(), "sub/a.log").unwrap());
            lines.add(&delivery("one"), add_timestamp);
            lines.add(&delivery("two"), add_timestamp);
            lines.write().unwrap();
        }
        let text = std::fs::read_to_string(directory.path().join("sub/a.log")).unwrap();
        assert_eq!(text, "one\ntwo\n1.000000002 one\n1.000000002 two\n");
    }

    #[test]
    fn symbolic_links_do_not_lead_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        std::fs::write(outside.path().join("target"), "").unwrap();
        std::os::unix::fs::symlink(outside.path().join("target"), inside.path().join("file"))
            .unwrap();
        for name in ["link/a.log", "file"] {
            let error = open(inside.path(), name).unwrap_err();
            assert!(error.to_string().contains("outside"), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_next_line_begins_anew() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut lines = Lines::new(full);
        lines.add(&delivery("lost"), false);
        assert!(lines.write().is_err());
        let directory = tempfile::tempdir().unwrap();
        lines.file = open(directory.path(), "a").unwrap();
        lines.add(&delivery("kept"), false);
        lines.write().unwrap();
        let text = std::fs::read_to_string(directory.path().join("a")).unwrap();
        assert_eq!(text, "\nkept\n");
    }
}
