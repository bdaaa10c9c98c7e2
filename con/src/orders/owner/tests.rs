//! The owner with a log of its own, and nobody around it.

use edgeless_orders::{
    book::Settings,
    log::{Log, Options},
    submission::Submission,
    tasks::Lists,
};
use edgeless_types::OrderId;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::json;

use super::*;

/// How long anything may take here, on a slow machine too.
const LONGEST: Duration = Duration::from_secs(60);

/// The room in the log, as the owner is told whatever there is.
const ROOM: u64 = 64 << 20;

/// An owner, and what others would have of it.
struct World {
    owner: Owner,
    inbox: mpsc::Sender<Post>,
    end: CancellationToken,
    asks: u64,
    lines: u32,
    _folder: tempfile::TempDir,
    _kept: Box<dyn std::any::Any>,
}

impl World {
    /// Segments of the log have so many bytes. There is a service `A`.
    fn new(segment_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes,
            max_bytes: 4 * segment_bytes,
            sync_delay: Duration::ZERO,
        };
        let log = Log::open(&folder.path().join("log"), options, 0, |_, _| Ok(())).unwrap();
        let told = Arc::new(watch::Sender::new(Kept {
            room: ROOM,
            ..Kept::default()
        }));
        let keeps = Arc::clone(&told);
        let follow = move |progress| {
            keeps.send_modify(|kept| {
                kept.follow(progress);
                kept.room = ROOM;
            });
        };
        let (writer, thread) = Writer::start(log, follow).unwrap();
        let (inbox, posts) = mpsc::channel(16);
        let (applied_by, applied) = watch::channel(0);
        let (rows, records) = mpsc::channel(16);
        let (reads, asked) = mpsc::channel(16);
        let (changes, _) = broadcast::channel(16);
        let (wants, wanted) = mpsc::channel(16);
        let (ends, ended) = mpsc::channel(16);
        let end = CancellationToken::new();
        let mut owner = Owner {
            book: Book::new(Settings::default(), 1, SmallRng::seed_from_u64(1)),
            inbox: posts,
            log: Arc::new(writer),
            kept: told.subscribe(),
            told,
            applied,
            rows,
            reads,
            changes,
            wanted: wants,
            ends,
            readiness: Readiness::default(),
            end: end.clone(),
            state: Carrying {
                next: 1,
                ..Carrying::default()
            },
        };
        let spec = json!({"url": "http://localhost"});
        let spec = Some(Arc::new(serde_json::from_value(spec).unwrap()));
        let name = "A".into();
        owner.event(Event::Service { name, spec });
        Self {
            owner,
            inbox,
            end,
            asks: 0,
            lines: 0,
            _folder: folder,
            _kept: Box::new((thread, applied_by, records, asked, wanted, ended)),
        }
    }

    fn line(&mut self) -> mpsc::Receiver<ToLine> {
        self.lines += 1;
        let (tasks, taken) = mpsc::channel(16);
        self.owner.follow(Post::Line {
            line: LineId(self.lines),
            service: "A".into(),
            source: format!("A-{}", self.lines).into(),
            copies: None,
            tasks,
        });
        taken
    }

    /// An order with one task for `A` comes.
    fn submission(&mut self, input: &str) -> (Post, oneshot::Receiver<Answer>) {
        self.asks += 1;
        let ask = Ask(self.asks);
        let document = json!({"input": input, "tasks": ["A"]}).to_string();
        let lists = Lists::default();
        let read = |text: &edgeless_orders::json::Json| lists.list(text);
        let submission = Submission::parse(&document.into(), None, now(), |_| [0; 32], read);
        let event = Event::Submit {
            id: OrderId::at(now(), &mut SmallRng::seed_from_u64(self.asks)),
            submission: Box::new(submission.unwrap()),
            ask,
            wait: false,
        };
        let (give, take) = oneshot::channel();
        (Post::Ask(event, give), take)
    }
}

#[tokio::test]
async fn a_task_that_cannot_be_sent_goes_over_another_line_without_waiting_for_anything_else() {
    let mut world = World::new(1 << 20);
    let mut there = world.line();
    // Whoever was behind the last line, which is asked first, is gone without a word.
    drop(world.line());
    let (post, mut answer) = world.submission("1");
    world.owner.follow(post);
    world.owner.hand_on();
    let sent = async {
        loop {
            if let Ok(message) = there.try_recv() {
                return message.tasks;
            }
            // Only the log is waited for, and only if something was handed to it.
            world.owner.kept.changed().await.unwrap();
            world.owner.follow_log();
            world.owner.hand_on();
            let state = &world.owner.state;
            assert!(state.batch.is_none() && state.outgoing.is_empty());
        }
    };
    let sent = tokio::time::timeout(LONGEST, sent).await.unwrap();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].attempt, 2, "the line that is gone had it first");
    assert!(matches!(answer.try_recv(), Ok(Answer::Accepted { .. })));
}

#[tokio::test]
async fn a_record_that_the_log_does_not_take_ends_all_of_it() {
    let mut world = World::new(5_120);
    let (long, never) = world.submission(&"x".repeat(8_192));
    let (short, after) = world.submission("1");
    for post in [long, short] {
        assert!(world.inbox.send(post).await.is_ok());
    }
    let ended = tokio::time::timeout(LONGEST, world.owner.run(Output::default()));
    let broken = ended.await.unwrap().unwrap_err();
    assert_eq!(
        broken.to_string(),
        "record 1 of the orders cannot be kept, and none after it"
    );
    assert!(never.await.is_err() && after.await.is_err());
}

#[tokio::test]
async fn an_owner_that_is_told_to_end_has_nothing_to_complain_of() {
    let world = World::new(1 << 20);
    world.end.cancel();
    world.owner.run(Output::default()).await.unwrap();
}
