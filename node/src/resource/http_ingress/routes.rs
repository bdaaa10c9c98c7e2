//! Which instance takes a request: pure.
//!
//! The exact host goes before `*`, then the longest path, then the method decides.

use std::{collections::HashMap, sync::Arc};

use edgeless_types::{
    PhysicalId,
    resource::http_ingress::{Host, Method, Settings},
};

/// All instances on one listener.
#[derive(Debug)]
pub struct Routes<R> {
    exact: HashMap<String, Paths<R>>,
    any: Paths<R>,
    instances: HashMap<PhysicalId, Settings>,
}

type Paths<R> = HashMap<String, ByMethod<R>>;
type ByMethod<R> = [Option<(PhysicalId, Arc<R>)>; Method::ALL.len()];

/// Another instance takes the same requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} requests to this host and path go to {taken_by} already")]
pub struct Conflict {
    /// The method both want.
    pub method: Method,
    /// Who has it.
    pub taken_by: PhysicalId,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<R> {
    /// To this instance.
    Route(Arc<R>),
    /// Nowhere: 404.
    Nothing,
    /// Nowhere with this method; these would do.
    OtherMethods(Vec<Method>),
}

impl<R> Default for Routes<R> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            any: HashMap::new(),
            instances: HashMap::new(),
        }
    }
}

impl<R> Routes<R> {
    /// Adds an instance.
    ///
    /// # Errors
    /// Another one has the same host, path and one of the methods; then nothing is changed.
    pub fn add(&mut self, id: PhysicalId, settings: Settings, route: R) -> Result<(), Conflict> {
        let paths = match &settings.host {
            Host::Any => &mut self.any,
            Host::Exact(host) => self.exact.entry(host.clone()).or_default(),
        };
        let by_method = paths.entry(settings.path.clone()).or_default();
        for &method in &settings.methods {
            if let Some((taken_by, _)) = &by_method[method as usize] {
                return Err(Conflict {
                    method,
                    taken_by: *taken_by,
                });
            }
        }
        let route = Arc::new(route);
        for &method in &settings.methods {
            by_method[method as usize] = Some((id, Arc::clone(&route)));
        }
        self.instances.insert(id, settings);
        Ok(())
    }

    /// Removes an instance, if it is there.
    pub fn remove(&mut self, id: PhysicalId) {
        let Some(settings) = self.instances.remove(&id) else {
            return;
        };
        let clear = |paths: &mut Paths<R>| {
            if let Some(by_method) = paths.get_mut(&settings.path) {
                for slot in by_method.iter_mut() {
                    slot.take_if(|(owner, _)| *owner == id);
                }
                if by_method.iter().all(Option::is_none) {
                    paths.remove(&settings.path);
                }
            }
        };
        match &settings.host {
            Host::Any => clear(&mut self.any),
            Host::Exact(host) => {
                if let Some(paths) = self.exact.get_mut(host) {
                    clear(paths);
                    if paths.is_empty() {
                        self.exact.remove(host);
                    }
                }
            }
        }
    }

    /// Finds who takes a request; `host` is lower case and without port.
    pub fn find(&self, host: &str, path: &str, method: &str) -> Found<R> {
        let exact = self.exact.get(host).and_then(|paths| longest(paths, path));
        let Some(by_method) = exact.or_else(|| longest(&self.any, path)) else {
            return Found::Nothing;
        };
        let wanted = Method::ALL.into_iter().find(|it| it.name() == method);
        match wanted.and_then(|method| by_method[method as usize].as_ref()) {
            Some((_, route)) => Found::Route(Arc::clone(route)),
            None => Found::OtherMethods(
                Method::ALL
                    .into_iter()
                    .filter(|method| by_method[*method as usize].is_some())
                    .collect(),
            ),
        }
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

/// The entry of the longest path that is `path` or above it, by whole segments.
fn longest<'a, R>(paths: &'a Paths<R>, path: &str) -> Option<&'a ByMethod<R>> {
    let mut prefix = path.trim_end_matches('/');
    while !prefix.is_empty() {
        if let Some(found) = paths.get(prefix) {
            return Some(found);
        }
        // Without a slash it is `*`, the server as a whole.
        prefix = &prefix[..prefix.rfind('/').unwrap_or(0)];
    }
    paths.get("/")
}

#[cfg(test)]
mod tests {
    use edgeless_types::resource::Configurations;
    use uuid::Uuid;

    use super::*;

    fn pid(id: u128) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(id))
    }

    fn settings(host: &str, path: &str, methods: &str) -> Settings {
        let pairs = [("host", host), ("path", path), ("methods", methods)];
        let configurations: Configurations = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        Settings::read(&configurations).unwrap()
    }

    fn routes() -> Routes<u128> {
        let mut routes = Routes::default();
        for (id, host, path, methods) in [
            (1, "a.org", "/", "GET,POST"),
            (2, "a.org", "/api", "POST"),
            (3, "*", "/api/v1", "GET"),
            (4, "*", "/", "GET"),
            (5, "a.org", "/api", "PUT"),
        ] {
            routes
                .add(pid(id), settings(host, path, methods), id)
                .unwrap();
        }
        routes
    }

    #[test]
    fn exact_host_then_longest_path_then_method() {
        let routes = routes();
        let goes = |host, path, method, id| {
            assert_eq!(
                routes.find(host, path, method),
                Found::Route(Arc::new(id)),
                "{path}"
            );
        };
        goes("a.org", "/", "GET", 1);
        goes("a.org", "/apiary", "GET", 1);
        goes("a.org", "/api", "POST", 2);
        goes("a.org", "/api/v1/x", "POST", 2);
        goes("a.org", "/api/", "PUT", 5);
        goes("b.org", "/api/v1", "GET", 3);
        goes("b.org", "/api/v2", "GET", 4);
        goes("b.org", "*", "GET", 4);
    }

    #[test]
    fn wrong_methods_are_told_the_right_ones_and_unknown_places_nothing() {
        let mut routes = routes();
        let others = Found::OtherMethods(vec![Method::Post, Method::Put]);
        assert_eq!(routes.find("a.org", "/api", "GET"), others);
        assert_eq!(routes.find("a.org", "/api", "BREW"), others);
        routes.remove(pid(4));
        assert_eq!(routes.find("b.org", "/", "GET"), Found::Nothing);
    }

    #[test]
    fn the_same_requests_go_to_one_instance_only_and_removal_frees_them() {
        let mut routes = routes();
        let wanted = settings("a.org", "/api/", "GET,PUT");
        let conflict = routes.add(pid(9), wanted.clone(), 9).unwrap_err();
        assert_eq!((conflict.method, conflict.taken_by), (Method::Put, pid(5)));
        routes.remove(pid(5));
        routes.add(pid(9), wanted, 9).unwrap();
        for id in [1, 2, 3, 4, 9, 9] {
            routes.remove(pid(id));
        }
        assert!(routes.is_empty() && routes.exact.is_empty() && routes.any.is_empty());
    }
}
