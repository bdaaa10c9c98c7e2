//! Why a command did not do what it was asked, and the exit code that says so.

use std::path::PathBuf;

use crate::view::Problem;

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] edgeless_daemon::config::ConfigError),
    /// ε-CON refuses.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// There is no answer.
    #[error("ε-CON cannot be reached at {url}; is edgeless_con_d running, and `--url` right?")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// There is an answer, but not of the kind that ε-CON gives.
    #[error("the answer of {url} is not what ε-CON answers (status {status}): {problem}")]
    Answer {
        /// Who answered.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("could not use `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has something wrong in it.
    #[error("`{}`{pointer}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where in it: ` at <JSON pointer>`, or nothing.
        pointer: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A node does not do what it is asked.
    #[error("node at {url}: {problem}")]
    Node {
        /// Its agent.
        url: String,
        /// Why.
        problem: String,
    },
    /// A dry run whose workflow nobody could run now.
    #[error("{0}")]
    WouldNotRun(String),
    /// What was looked at is not there any more.
    #[error("`{0}` has ended or moved, or its node is gone; start again to look at what runs now")]
    Ended(String),
    /// What came as it happened comes no more.
    #[error("the connection to ε-CON at {0} has ended; start again to go on watching")]
    Broken(String),
    /// An order did not come to what was wanted of it.
    #[error("{0}")]
    Order(String),
    /// There is no such thing in any domain.
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// Its kind.
        what: &'static str,
        /// Its id as given.
        id: String,
    },
    /// A function could not be built.
    #[error("{0}")]
    Build(String),
    /// The system gives no runtime.
    #[error("could not start the runtime")]
    Runtime(#[source] std::io::Error),
    /// Standard output is closed or full.
    #[error("could not write to standard output")]
    Output(#[source] std::io::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused(_)
            | Self::Answer { .. }
            | Self::File { .. }
            | Self::Content { .. }
            | Self::Unknown { .. }
            | Self::Node { .. }
            | Self::WouldNotRun(_)
            | Self::Ended(_)
            | Self::Broken(_)
            | Self::Order(_)
            | Self::Build(_)
            | Self::Runtime(_)
            | Self::Output(_) => 1,
        }
    }

    /// What to do about it, when the message alone does not say.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let Self::Refused(problem) = self else {
            return None;
        };
        let names_class = |pointer: &str| pointer.ends_with("/class_specification/version");
        let says = |pointer: &str, detail: &str| {
            let mut faults = problem.errors.iter();
            faults.any(|fault| fault.pointer == pointer && fault.detail.starts_with(detail))
        };
        let mut pointers = problem.errors.iter().map(|fault| fault.pointer.as_str());
        if problem.kind.ends_with(":infeasible") {
            Some("`--wait` has it accepted; it starts when a domain can run it")
        } else if pointers.any(names_class) {
            Some("`edgeless_cli function push DIR` publishes a function")
        } else if says("/tasks", "there is no service") {
            Some("`edgeless_cli service put NAME --function CLASS` defines a service")
        } else if says("/client", "there is no client") {
            Some("`edgeless_cli client put NAME FILE` defines a client")
        } else if problem.detail.ends_with("names no tasks; the order has to") {
            Some("`--task A,B` names them")
        } else if says("/tasks", "the contract of") {
            Some("`edgeless_cli client get NAME` shows a contract")
        } else {
            None
        }
    }
}

/// A file that cannot be read or written.
pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.into();
    move |source| Failure::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_order_lacks_is_hinted_at() {
        let check = |pointer: &str, detail: &str, hint: &str| {
            let fault = serde_json::json!({"pointer": pointer, "detail": detail});
            let problem = serde_json::json!({"detail": detail, "errors": [fault]});
            let failure = Failure::Refused(Box::new(serde_json::from_value(problem).unwrap()));
            assert!(
                failure.hint().unwrap_or_default().contains(hint),
                "{detail}"
            );
        };
        check("/tasks", "there is no service `A`", "service put");
        check("/client", "there is no client `c`; define it", "client put");
        check("/tasks", "the contract of `c` does not allow", "client get");
        let no_tasks = "the contract of `c` names no tasks; the order has to";
        check("/tasks", no_tasks, "--task A,B");
        check("/class_specification/version", "", "function push");
    }
}
