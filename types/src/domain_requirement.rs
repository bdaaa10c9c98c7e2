//! Requirements of a workflow on its domain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DomainId, RequirementError, requirement::list};

/// The annotation that names domains.
pub const DOMAIN_MATCH_ANY: &str = "domain_match_any";
/// The annotation that names labels of domains.
pub const DOMAIN_LABEL_MATCH_ALL: &str = "domain_label_match_all";

/// What the domain of a workflow must be: all its vertices are in one.
///
/// An empty list excludes no domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRequirements {
    /// `domain_match_any`: the domain is one of these.
    pub match_any: Vec<DomainId>,
    /// `domain_label_match_all`: the domain itself has all these labels.
    pub label_match_all: Vec<String>,
}

impl DomainRequirements {
    /// Reads the requirements among the annotations of a workflow or of a function. Lists are
    /// separated by commas.
    ///
    /// # Errors
    /// A list with an empty item.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, RequirementError> {
        let read = |key: &str| match annotations.get(key) {
            None => Ok(Vec::new()),
            Some(value) => list(value).map_err(|problem| RequirementError {
                key: key.to_owned(),
                problem,
            }),
        };
        let domains = read(DOMAIN_MATCH_ANY)?;
        Ok(Self {
            match_any: domains.into_iter().map(DomainId::new).collect(),
            label_match_all: read(DOMAIN_LABEL_MATCH_ALL)?,
        })
    }

    /// Requires what the other requires as well.
    ///
    /// # Errors
    /// No domain is named by both; then nothing has changed.
    pub fn add(&mut self, other: &Self) -> Result<(), RequirementError> {
        if self.match_any.is_empty() {
            self.match_any.clone_from(&other.match_any);
        } else if !other.match_any.is_empty() {
            let in_both = |id: &&DomainId| other.match_any.contains(id);
            let both: Vec<_> = self.match_any.iter().filter(in_both).cloned().collect();
            if both.is_empty() {
                return Err(RequirementError {
                    key: DOMAIN_MATCH_ANY.to_owned(),
                    problem:
                        "names no domain that the rest of the workflow allows as well; all its \
                              functions are in one domain"
                            .to_owned(),
                });
            }
            self.match_any = both;
        }
        for label in &other.label_match_all {
            if !self.label_match_all.contains(label) {
                self.label_match_all.push(label.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str, value: &str) -> DomainRequirements {
        let annotations = [(key.to_owned(), value.to_owned())].into();
        DomainRequirements::from_annotations(&annotations).unwrap()
    }

    #[test]
    fn all_of_a_workflow_is_in_one_domain() {
        let mut all = read(DOMAIN_MATCH_ANY, "a, b");
        all.add(&read(DOMAIN_MATCH_ANY, "b,c")).unwrap();
        all.add(&read(DOMAIN_LABEL_MATCH_ALL, "eu")).unwrap();
        all.add(&read(DOMAIN_LABEL_MATCH_ALL, "eu,fast")).unwrap();
        assert_eq!(all.match_any, [DomainId::new("b")]);
        assert_eq!(all.label_match_all, ["eu", "fast"]);
        let error = all.add(&read(DOMAIN_MATCH_ANY, "a")).unwrap_err();
        assert_eq!(error.key, DOMAIN_MATCH_ANY);
    }
}
