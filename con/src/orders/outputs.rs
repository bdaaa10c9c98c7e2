//! Tells the ends of orders where contracts and orders want them told: at least once, also over a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use edgeless_orders::{
    body::Body,
    book::Event,
    contract::Output,
    store::{Store, StoreError},
    tasks::Lists,
    view::EndView,
};
use edgeless_types::OrderId;
use tokio::{
    io::AsyncWriteExt,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{Post, body_of, endpoint};

/// How many are told at once, and how many of them at one host: one that does not answer takes no more.
const AT_ONCE: usize = 512;
const OF_A_HOST: usize = 8;
/// How many are being told or wait to be tried again, and how many of them at one host. The store knows the others.
const UNDER_WAY: usize = 16_384;
const UNDER_WAY_OF_A_HOST: usize = 2_048;
/// How often the store is asked for those, and for how many.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_AT: usize = 1_024;
/// How long telling one may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is tried, with pauses from half a second to a minute: about a quarter of an hour in all.
const TRIES: usize = 20;

/// Tells ends.
#[derive(Clone)]
pub(super) struct Outputs {
    client: reqwest::Client,
    results: Option<Arc<PathBuf>>,
    /// One line of a file at a time.
    file: Arc<tokio::sync::Mutex<()>>,
    inbox: mpsc::WeakSender<Post>,
    store: Arc<dyn Store>,
    lists: Lists,
    all: Arc<Semaphore>,
}

/// What is being told or waits to be tried again.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<(OrderId, u32, String)>,
    outputs: BTreeSet<(OrderId, u32)>,
    hosts: BTreeMap<String, (Arc<Semaphore>, usize)>,
    /// Some are left to the store.
    left: bool,
    /// The last one that was looked for there.
    last: Option<OrderId>,
}

impl Outputs {
    pub(super) fn new(
        results: &Option<PathBuf>,
        inbox: mpsc::WeakSender<Post>,
        (store, lists): (Arc<dyn Store>, Lists),
    ) -> Self {
        Self {
            client: endpoint::client(),
            results: results.clone().map(Arc::new),
            file: Arc::default(),
            inbox,
            store,
            lists,
            all: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Runs until no more orders end.
    pub(super) async fn run(self, mut ends: mpsc::Receiver<Arc<Body>>) {
        let mut under_way = UnderWay::default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                body = ends.recv() => {
                    let Some(body) = body else { return };
                    // Others may have found no place.
                    under_way.left |= ends.len() >= ends.max_capacity() / 2;
                    self.begin(&body, &mut under_way);
                }
                Some(told) = under_way.tasks.join_next() => under_way.end(told),
                _ = look.tick(), if under_way.left => self.look(&mut under_way).await,
            }
        }
    }

    /// Begins to tell an end where it has not been told; what finds no place is left to the store.
    fn begin(&self, body: &Arc<Body>, under_way: &mut UnderWay) {
        let told: Vec<u32> = body.delivered.iter().map(|(output, _)| *output).collect();
        for (number, output) in (0_u32..).zip(body.outputs()) {
            if told.contains(&number) || under_way.outputs.contains(&(body.id, number)) {
                continue;
            }
            let host = host(&output);
            let Some(place) = under_way.place(&host) else {
                under_way.left = true;
                continue;
            };
            under_way.outputs.insert((body.id, number));
            let (outputs, body) = (self.clone(), Arc::clone(body));
            under_way.tasks.spawn(async move {
                outputs
                    .tell_until_told(&body, number, &output, &place)
                    .await;
                (body.id, number, host)
            });
        }
    }

    /// Takes up some of what was left to the store, one after the other and again from the beginning.
    async fn look(&self, under_way: &mut UnderWay) {
        let (store, lists, last) = (Arc::clone(&self.store), self.lists.clone(), under_way.last);
        let reading = tokio::task::spawn_blocking(move || {
            let mut ids = store.undelivered()?;
            ids.sort_unstable();
            let rest = ids
                .into_iter()
                .filter(|id| last.is_none_or(|last| *id > last));
            let ids: Vec<OrderId> = rest.take(LOOK_AT).collect();
            let rows = ids.iter().filter_map(|id| store.read(*id).transpose());
            let bodies = rows.map(|row| body_of(row?, &lists).map(Arc::new));
            let bodies: Vec<Arc<Body>> = bodies.collect::<Result<_, StoreError>>()?;
            Ok::<_, StoreError>((ids.last().copied(), bodies))
        });
        match reading.await {
            Ok(Ok((last, bodies))) => {
                // After the last of them all are looked at again, as long as some find no place.
                under_way.left = last.is_some() || under_way.last.is_some();
                under_way.last = last;
                for body in bodies {
                    self.begin(&body, under_way);
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "ends that are to be told cannot be read"),
            Err(error) => tracing::error!(%error, "the search for ends to be told panicked"),
        }
    }

    async fn tell_until_told(
        &self,
        body: &Arc<Body>,
        number: u32,
        output: &Output,
        place: &Semaphore,
    ) {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_delay(Duration::from_secs(60))
            .with_max_times(TRIES)
            .with_jitter();
        // Places are taken for each try only: whoever pauses needs none.
        let attempt = async || {
            let (Ok(_of_host), Ok(_of_all)) = (place.acquire().await, self.all.acquire().await)
            else {
                return Err("nothing is told any more".to_owned());
            };
            self.tell(body, output).await
        };
        let told = attempt.retry(pauses).await;
        let id = body.id;
        let problem = told.err();
        if let Some(problem) = &problem {
            tracing::warn!(order = %id, problem, "the end of an order cannot be told");
        }
        if let Some(inbox) = self.inbox.upgrade() {
            let event = Event::Delivered {
                id,
                output: number,
                problem,
            };
            // When everything ends, it is told again after the next start.
            inbox.send(Post::Event(event)).await.ok();
        }
    }

    async fn tell(&self, body: &Arc<Body>, output: &Output) -> Result<(), String> {
        let text = serde_json::to_vec(&EndView::from(body)).map_err(|error| error.to_string())?;
        let telling = async {
            match output {
                Output::Callback { url } => self.post(url, text).await,
                Output::File { name } => self.append(name, text).await,
                Output::Redis { url, key } => set(url, key, body, text).await,
            }
        };
        let told = tokio::time::timeout(DEADLINE, telling).await;
        told.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn post(&self, url: &str, text: Vec<u8>) -> Result<(), String> {
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json");
        let response = request
            .body(text)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("{url}: {}", response.status())),
        }
    }

    async fn append(&self, name: &str, mut text: Vec<u8>) -> Result<(), String> {
        let folder = self
            .results
            .as_ref()
            .ok_or("key `orders.results_dir` of ε-CON names no folder")?;
        text.push(b'\n');
        let write = async {
            let _one = self.file.lock().await;
            tokio::fs::create_dir_all(&**folder).await?;
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options
                .create(true)
                .append(true)
                .open(folder.join(name))
                .await?;
            file.write_all(&text).await?;
            file.sync_data().await
        };
        write
            .await
            .map_err(|error: std::io::Error| format!("file `{name}`: {error}"))
    }
}

impl UnderWay {
    /// A place for one more; none: there are too many, or too many of its host.
    fn place(&mut self, host: &str) -> Option<Arc<Semaphore>> {
        if self.outputs.len() >= UNDER_WAY {
            return None;
        }
        let fresh = || (Arc::new(Semaphore::new(OF_A_HOST)), 0);
        let (places, count) = self.hosts.entry(host.to_owned()).or_insert_with(fresh);
        (*count < UNDER_WAY_OF_A_HOST).then(|| {
            *count += 1;
            Arc::clone(places)
        })
    }

    fn end(&mut self, told: Result<(OrderId, u32, String), tokio::task::JoinError>) {
        let (id, number, host) = match told {
            Ok(told) => told,
            Err(error) => return tracing::error!(%error, "telling the end of an order panicked"),
        };
        self.outputs.remove(&(id, number));
        if let Some((_, count)) = self.hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&host);
            }
        }
    }
}

/// Whom an output depends on.
fn host(output: &Output) -> String {
    let authority = |url: &str| {
        let url = url::Url::parse(url).ok();
        url.map(|url| url.authority().to_owned())
            .unwrap_or_default()
    };
    match output {
        Output::Callback { url } | Output::Redis { url, .. } => authority(url),
        Output::File { .. } => "file".to_owned(),
    }
}

async fn set(url: &str, key: &str, body: &Body, text: Vec<u8>) -> Result<(), String> {
    let key = key.replace("{id}", &body.id.to_string());
    let set = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET")
            .arg(key)
            .arg(text)
            .query_async::<()>(&mut connection)
            .await
    };
    set.await
        .map_err(|error: redis::RedisError| format!("{url}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_takes_no_more_than_its_places_and_gives_them_back() {
        let mut under_way = UnderWay::default();
        let id = OrderId::from_pair((1, 1));
        for number in 0..2_048 {
            assert!(under_way.place("dead").is_some());
            under_way.outputs.insert((id, number));
        }
        assert!(under_way.place("dead").is_none());
        assert!(under_way.place("well").is_some());
        under_way.end(Ok((id, 0, "dead".to_owned())));
        assert!(under_way.place("dead").is_some());
    }

    #[test]
    fn outputs_of_one_host_are_known_by_it() {
        let callback = |url: &str| {
            let url = url.to_owned();
            host(&Output::Callback { url })
        };
        assert_eq!(callback("http://a:80/x"), callback("http://a/y"));
        assert_ne!(callback("http://a/x"), callback("http://a:81/x"));
    }
}
