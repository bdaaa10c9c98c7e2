//! TLS between nodes: reads and checks the certificate, key and authority of this node once, and makes
//! of them what links and the server use. Whether a peer is spoken to is decided in `link.rs`.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::config::DataPlaneTls;

/// The largest file that is read, in bytes: no certificate and no key comes near it.
const LARGEST: u64 = 1 << 20;
/// How long a peer may take to prove who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a node needs to prove that it may take part, and to check that of others; cheap enough to clone
/// for each link. Not `Debug`: it holds the private key.
#[derive(Clone)]
pub struct Tls {
    identity: Identity,
    authority: Certificate,
}

/// Why `data_plane_tls` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or not readable.
    #[error(
        "key `data_plane_tls.{key}`: could not read `{}`: name a PEM file that the node may read",
        path.display()
    )]
    Read {
        /// The key in its section.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should in PEM format.
    #[error(
        "key `data_plane_tls.{key}`: `{}` is no PEM file with a {content}: it must hold one that \
         begins with `-----BEGIN`",
        path.display()
    )]
    Pem {
        /// The key in its section.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        content: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// What a file holds cannot be used.
    #[error(
        "key `data_plane_tls.{key}`: the {content} in `{}` cannot be used: make it anew, as \
         docs/security.md shows",
        path.display()
    )]
    Unusable {
        /// The key in its section.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds.
        content: &'static str,
        /// What is wrong.
        source: rustls::Error,
    },
    /// Key and certificate are not of one pair.
    #[error(
        "key `data_plane_tls.key`: the private key in `{}` does not belong to the certificate in \
         `{}`: name the key for which that certificate was made",
        path.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file of the key.
        path: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
}

/// One of the files, read.
struct File<'a> {
    key: &'static str,
    path: &'a Path,
    content: &'static str,
    bytes: Vec<u8>,
}

impl Tls {
    /// Reads the files and checks them; they are not read again.
    ///
    /// # Errors
    /// A file cannot be read or used, or the key does not belong to the certificate.
    pub fn read(files: &DataPlaneTls) -> Result<Self, TlsError> {
        let certificate = File::read("certificate", &files.certificate, "certificate")?;
        let key = File::read("key", &files.key, "private key")?;
        let authority = File::read("authority", &files.authority, "certificate")?;

        let chain = certificate.certificates()?;
        for link in &chain {
            ParsedCertificate::try_from(link).map_err(|source| certificate.unusable(source))?;
        }
        let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|error| key.pem(error))?;
        let provider = ring::default_provider();
        let signing = provider.key_provider.load_private_key(private);
        let signing = signing.map_err(|source| key.unusable(source))?;
        match CertifiedKey::new(chain, signing).keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(TlsError::Mismatch {
                    path: files.key.clone(),
                    certificate: files.certificate.clone(),
                });
            }
        }
        let mut roots = RootCertStore::empty();
        for root in authority.certificates()? {
            let added = roots.add(root);
            added.map_err(|source| authority.unusable(source))?;
        }
        Ok(Self {
            identity: Identity::from_pem(certificate.bytes, key.bytes),
            authority: Certificate::from_pem(authority.bytes),
        })
    }

    /// For the receiving end: nobody without a certificate of the authority gets in.
    pub(super) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.authority.clone())
            .timeout(HANDSHAKE)
    }

    /// For the sending end: the peer's certificate must be of the authority and name the host of its URL.
    pub(super) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.authority.clone())
            .timeout(HANDSHAKE)
    }
}

impl<'a> File<'a> {
    fn read(key: &'static str, path: &'a Path, content: &'static str) -> Result<Self, TlsError> {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(path);
        let read = opened.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        let fits = read.and_then(|_| match bytes.len() as u64 > LARGEST {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(()),
        });
        fits.map_err(|source| TlsError::Read {
            key,
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            key,
            path,
            content,
            bytes,
        })
    }

    /// At least one.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(&self.bytes);
        let certificates: Vec<_> = certificates
            .collect::<Result<_, _>>()
            .map_err(|error| self.pem(error))?;
        match certificates.is_empty() {
            true => Err(self.pem(pem::Error::NoItemsFound)),
            false => Ok(certificates),
        }
    }

    fn pem(&self, source: pem::Error) -> TlsError {
        TlsError::Pem {
            key: self.key,
            path: self.path.to_owned(),
            content: self.content,
            source,
        }
    }

    fn unusable(&self, source: rustls::Error) -> TlsError {
        TlsError::Unusable {
            key: self.key,
            path: self.path.to_owned(),
            content: self.content,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::Ordering::Relaxed},
        task,
    };

    use bytes::Bytes;
    use edgeless_daemon::net::{Listen, PeerUrl};
    use edgeless_dataflow::{
        Action, Answer, CallRef, Engine, EngineConfig, HOPS, Operator, Outbox, Outputs, Place,
        Port, Progress, Remote as _, Spawn,
    };
    use edgeless_proto::{
        convert::id_bytes,
        v1::{self, invocation_client::InvocationClient},
    };
    use edgeless_types::{
        Generation, InstanceId, NodeId, PhysicalId,
        message::{Budget, Message},
    };
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use tonic::transport::Endpoint;
    use uuid::Uuid;

    use super::*;
    use crate::dataplane::{DataPlane, certificates::Authority, line::Line, server};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A node's data plane with one instance, which answers calls and shows casts.
    struct Side {
        plane: DataPlane,
        engine: Engine,
        url: String,
        port: Port,
        casts: mpsc::Receiver<Bytes>,
        serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
        shutdown: CancellationToken,
    }

    impl Side {
        async fn new(node: u128, tls: Option<Tls>) -> Self {
            let bound = Listen::loopback().bind("test").await.unwrap();
            let url = match tls {
                Some(_) => PeerUrl::Tls(bound.url.clone()),
                None => PeerUrl::Plain(bound.url.clone()),
            };
            let url = url.to_string();
            let shutdown = CancellationToken::new();
            let me = instance(node).node_id;
            let plane = DataPlane::new(me, url.clone(), tls, 1, shutdown.clone());
            let engine = Engine::start(engine_config(me), Arc::new(plane.clone())).unwrap();
            let (port, casts) = spawn(&engine, node).await;
            let serving = server::serve(bound, engine.clone(), plane.clone(), shutdown.clone());
            Self {
                plane,
                engine,
                url,
                port,
                casts,
                serving: tokio::spawn(serving),
                shutdown,
            }
        }

        fn knows(&self, peer: &Self) {
            let node_id = peer.plane.node_id();
            self.plane.peers().learn(node_id, &peer.url);
        }

        /// Sends to the instance of a peer, and calls it.
        async fn reaches(&self, peer: &mut Self, text: &'static str) {
            let payload = Bytes::from_static(text.as_bytes());
            self.port.cast("peer", payload.clone()).await.unwrap();
            let cast = tokio::time::timeout(PATIENCE, peer.casts.recv()).await;
            assert_eq!(cast.unwrap().unwrap(), payload);
            let answer = self.port.call("peer", payload.clone(), PATIENCE).await;
            assert_eq!(answer.unwrap().unwrap(), payload);
        }

        /// Why a link to a peer is not made.
        async fn refusal(&self, peer: &Self) -> String {
            self.knows(peer);
            let line = Arc::<Line>::default();
            let link = self.plane.link(peer.plane.node_id(), line);
            let connected = tokio::time::timeout(PATIENCE, link.connect())
                .await
                .unwrap();
            connected.unwrap_err()
        }

        async fn end(self) {
            self.shutdown.cancel();
            self.serving.await.unwrap().unwrap();
            self.plane.ended().await;
            let engine = self.engine;
            tokio::task::spawn_blocking(move || engine.end())
                .await
                .unwrap();
        }
    }

    /// The instance of a node; of the nodes 1 and 2 each sends to the other.
    fn instance(node: u128) -> InstanceId {
        InstanceId {
            node_id: NodeId::new(Uuid::from_u128(node)),
            physical_id: PhysicalId::new(Uuid::from_u128(node)),
        }
    }

    fn engine_config(node_id: NodeId) -> EngineConfig {
        EngineConfig {
            node_id,
            shards: 1,
            inbox: 64,
            hops: HOPS,
            workflow: edgeless_dataflow::WORKFLOW,
            node: edgeless_dataflow::NODE,
            call_timeout: PATIENCE,
            park_timeout: PATIENCE,
            ack_timeout: PATIENCE,
            attempts: edgeless_dataflow::ATTEMPTS,
            samples: 100,
            clock: Arc::new(edgeless_daemon::wall_clock),
            seed: 1,
        }
    }

    async fn spawn(engine: &Engine, node: u128) -> (Port, mpsc::Receiver<Bytes>) {
        let (give, mut ports) = mpsc::channel(1);
        let (show, casts) = mpsc::channel(8);
        let peer = vec![instance(3 - node)];
        let spawn = Spawn {
            physical_id: instance(node).physical_id,
            generation: Generation(1),
            place: Place::Anywhere,
            outputs: Outputs::new(vec![("peer".to_owned(), peer)]),
            delivery: edgeless_dataflow::Delivery::default(),
            factory: Box::new(move |context| {
                give.try_send(context.port).unwrap();
                Ok(Box::new(Shows(show)))
            }),
        };
        engine.spawn(spawn).await.unwrap();
        (ports.recv().await.unwrap(), casts)
    }

    /// Answers calls with what they hold and shows casts.
    struct Shows(mpsc::Sender<Bytes>);

    impl Operator for Shows {
        fn on_message(
            &mut self,
            message: Message,
            _: &mut task::Context<'_>,
            out: &mut Outbox,
        ) -> Progress {
            match CallRef::of_call(&message) {
                Some(call) => out.answer(call, Answer::Reply(message.payload)),
                None => self.0.try_send(message.payload).unwrap(),
            }
            Progress::Done
        }
    }

    /// Opens a stream as somebody would who keeps to none of the rules of a link, and sends an event.
    async fn intrude(url: &str, tls: Option<ClientTlsConfig>) -> Result<(), String> {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        let endpoint = match tls {
            Some(tls) => endpoint.tls_config(tls).unwrap(),
            None => endpoint,
        };
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let hello = v1::Hello {
            node_id: id_bytes(&instance(9).node_id),
            invocation_url: "http://127.0.0.1:9".to_owned(),
        };
        let frame = v1::Frame {
            hello: Some(hello),
            ..v1::Frame::default()
        };
        let events = v1::Frame {
            events: vec![v1::Event::default()],
            ..v1::Frame::default()
        };
        let frames = tokio_stream::iter([frame, events]);
        let opened = InvocationClient::new(channel).exchange(frames).await;
        opened.map(drop).map_err(|status| status.to_string())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn budgets_go_against_the_data_from_node_to_node() {
        let (mut near, mut far) = (Side::new(1, None).await, Side::new(2, None).await);
        near.knows(&far);
        near.reaches(&mut far, "there").await;
        let nothing = Action::Budget(Budget::NOTHING);
        far.port.act(nothing).await.unwrap();
        let short = Duration::from_millis(20);
        // What is sent before the budget is there is sent.
        while tokio::time::timeout(short, near.port.cast("peer", Bytes::new()))
            .await
            .is_ok()
        {
            tokio::time::timeout(PATIENCE, far.casts.recv())
                .await
                .unwrap();
        }
        let anything = Action::Budget(Budget::default());
        far.port.act(anything).await.unwrap();
        near.reaches(&mut far, "again").await;
        far.reaches(&mut near, "back").await;
        near.end().await;
        far.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_handled_far_away_waits_no_more() {
        let (near, mut far) = (Side::new(1, None).await, Side::new(2, None).await);
        near.knows(&far);
        let there = instance(2);
        assert_eq!(near.plane.waiting(0, there), 0);
        near.reaches(&mut far, "there").await;
        // A receipt would come after hundreds of messages only.
        let known = async {
            while near.plane.waiting(0, there) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.unwrap();
        near.end().await;
        far.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_with_certificates_of_one_authority_reach_each_other() {
        let authority = Authority::new();
        let mut near = Side::new(1, Some(authority.tls("127.0.0.1"))).await;
        let mut far = Side::new(2, Some(authority.tls("127.0.0.1"))).await;
        near.knows(&far);
        near.reaches(&mut far, "there").await;
        // The way back was learnt from the stream.
        far.reaches(&mut near, "back").await;
        near.end().await;
        far.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_no_certificate_of_the_authority_gets_nothing_through() {
        let (authority, other) = (Authority::new(), Authority::new());
        let (ours, theirs) = (authority.tls("127.0.0.1"), other.tls("127.0.0.1"));
        let mut near = Side::new(1, Some(ours.clone())).await;
        let url = near.url.clone();
        let plain_url = url.replace("https:", "http:");
        // They trust the node, so that it is the node that refuses them.
        let trusting = || ClientTlsConfig::new().ca_certificate(ours.authority.clone());
        for (name, url, tls) in [
            ("none at all", &url, Some(trusting())),
            (
                "one of another authority",
                &url,
                Some(trusting().identity(theirs.identity.clone())),
            ),
            ("no TLS", &plain_url, None),
        ] {
            let intruded = tokio::time::timeout(PATIENCE, intrude(url, tls)).await;
            assert!(intruded.unwrap().is_err(), "{name}");
        }

        let stranger = Side::new(2, Some(theirs)).await;
        for (from, to) in [(&stranger, &near), (&near, &stranger)] {
            let refusal = from.refusal(to).await;
            assert!(refusal.contains("invalid peer certificate"), "{refusal}");
        }
        assert_eq!(near.plane.counters().received.load(Relaxed), 0);
        assert_eq!(stranger.plane.counters().received.load(Relaxed), 0);
        assert_eq!(near.plane.peers().url(instance(9).node_id), None);
        stranger.end().await;

        // What was refused has broken nothing.
        let mut far = Side::new(2, Some(ours)).await;
        near.knows(&far);
        near.reaches(&mut far, "there").await;
        far.reaches(&mut near, "back").await;
        near.end().await;
        far.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_with_and_without_tls_do_not_speak_and_say_why() {
        let authority = Authority::new();
        let near = Side::new(1, Some(authority.tls("127.0.0.1"))).await;
        let plain = Side::new(2, None).await;
        let refusal = near.refusal(&plain).await;
        assert!(refusal.contains("this node speaks TLS only"), "{refusal}");
        let refusal = plain.refusal(&near).await;
        assert!(refusal.contains("this node has none"), "{refusal}");
        for side in [near, plain] {
            assert_eq!(side.plane.counters().received.load(Relaxed), 0);
            assert_eq!(side.plane.counters().connections.load(Relaxed), 0);
            side.end().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_certificate_for_another_host_is_refused() {
        let authority = Authority::new();
        let near = Side::new(1, Some(authority.tls("127.0.0.1"))).await;
        let elsewhere = Side::new(2, Some(authority.tls("elsewhere.example"))).await;
        let refusal = near.refusal(&elsewhere).await;
        assert!(refusal.contains("not valid for name"), "{refusal}");
        near.end().await;
        elsewhere.end().await;
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_keys() {
        let authority = Authority::new();
        let (files, other) = (authority.files("a.example"), authority.files("b.example"));
        let garbage = authority.folder.path().join("garbage.pem");
        let base64 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&garbage, base64).unwrap();
        let blank = authority.folder.path().join("blank.pem");
        std::fs::write(&blank, "nothing").unwrap();
        let refused = |key: &str, path: &Path, words: &str, spoil: &dyn Fn(&mut DataPlaneTls)| {
            let mut files = files.clone();
            spoil(&mut files);
            let error = Tls::read(&files).err().unwrap().to_string();
            let key = format!("key `data_plane_tls.{key}`: ");
            assert!(error.starts_with(&key), "{error}");
            assert!(error.contains(&format!("`{}`", path.display())), "{error}");
            assert!(error.contains(words), "{error}");
        };
        refused("key", &other.key, "does not belong", &|files| {
            files.key = other.key.clone();
        });
        refused("key", &blank, "no PEM file", &|files| {
            files.key = blank.clone();
        });
        refused("key", Path::new("gone"), "could not read", &|files| {
            files.key = "gone".into();
        });
        refused("certificate", &blank, "no PEM file", &|files| {
            files.certificate = blank.clone();
        });
        refused("certificate", &garbage, "cannot be used", &|files| {
            files.certificate = garbage.clone();
        });
        refused("authority", &files.key, "no PEM file", &|changed| {
            changed.authority = files.key.clone();
        });
        refused("authority", &garbage, "cannot be used", &|files| {
            files.authority = garbage.clone();
        });
        assert!(Tls::read(&files).is_ok());
    }
}
