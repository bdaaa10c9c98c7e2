//! A component in its store: its handlers, called with one event after the other.

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, CallRef};
use edgeless_types::{InstanceId, NodeId, PhysicalId};
use uuid::Uuid;
use wasmtime::{
    Store,
    component::{
        ComponentExportIndex, ComponentNamedList, ComponentType, Instance, Lift, Lower, TypedFunc,
    },
};

use super::{Components, GuestState, HANDLERS, Ready};
use crate::runtime::{
    guest::Birth,
    io::{Finished, Given},
};

/// What a component needs besides what all guests do.
#[derive(Default)]
pub struct Own {
    pub(super) init_payload: Option<Bytes>,
}

/// A UUID as the interface has it.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct WireUuid {
    high: u64,
    low: u64,
}

/// An instance as the interface has it.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct WireId {
    node: WireUuid,
    instance: WireUuid,
}

impl From<Uuid> for WireUuid {
    fn from(uuid: Uuid) -> Self {
        let (high, low) = uuid.as_u64_pair();
        Self { high, low }
    }
}

impl From<InstanceId> for WireId {
    fn from(id: InstanceId) -> Self {
        Self {
            node: id.node_id.uuid().into(),
            instance: id.physical_id.uuid().into(),
        }
    }
}

impl From<WireId> for InstanceId {
    fn from(id: WireId) -> Self {
        let uuid = |uuid: WireUuid| Uuid::from_u64_pair(uuid.high, uuid.low);
        Self {
            node_id: NodeId::new(uuid(id.node)),
            physical_id: PhysicalId::new(uuid(id.instance)),
        }
    }
}

type Reply = Result<Option<Bytes>, String>;

/// The handlers of a guest.
pub struct Guest {
    cast: TypedFunc<(WireId, Bytes), ()>,
    call: TypedFunc<(WireId, Bytes), (Reply,)>,
    stop: TypedFunc<(), ()>,
}

impl Guest {
    pub(super) async fn make(
        birth: &Birth<Components>,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<Self> {
        let Ready { pre, handlers } = &*birth.code;
        store.data_mut().own.init_payload = birth.init_payload.clone();
        let instance: Instance = pre.instantiate_async(&mut *store).await?;
        let [init, cast, call, stop] =
            [0, 1, 2, 3].map(|number| (HANDLERS[number], &handlers[number]));
        let init: TypedFunc<(Option<Bytes>, Option<Bytes>), ()> = typed(store, instance, init)?;
        let guest = Self {
            cast: typed(store, instance, cast)?,
            call: typed(store, instance, call)?,
            stop: typed(store, instance, stop)?,
        };
        begin(store);
        let start = (birth.init_payload.clone(), birth.state.clone());
        init.call_async(store, start).await?;
        Ok(guest)
    }

    pub(super) async fn live(self, store: &mut Store<GuestState>) -> wasmtime::Result<()> {
        let io = store.data().io.clone();
        loop {
            io.finish(Finished::Ready);
            let given = io.given().await;
            begin(store);
            let message = match given {
                Given::Stop => return self.stop.call_async(store, ()).await,
                Given::Message(message) => message,
            };
            let source = WireId::from(message.source);
            let call = CallRef::of_call(&message);
            store.data_mut().call = call;
            let event = (source, message.payload);
            let Some(call) = call else {
                self.cast.call_async(&mut *store, event).await?;
                continue;
            };
            let (reply,) = self.call.call_async(&mut *store, event).await?;
            store.data_mut().call = None;
            let answer = match reply {
                Ok(None) => Answer::NoReply,
                Ok(Some(reply)) => Answer::Reply(reply),
                Err(text) => Answer::Error(text),
            };
            io.act(Action::Answer(call, answer));
        }
    }
}

/// An export of this name, if it has these types.
fn typed<Parameters, Results>(
    store: &mut Store<GuestState>,
    instance: Instance,
    (name, index): (&str, &ComponentExportIndex),
) -> wasmtime::Result<TypedFunc<Parameters, Results>>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let function = instance.get_typed_func(store, index);
    function.map_err(|error| {
        let text = format!(
            "the export `{name}` has other types: {}",
            error.root_cause()
        );
        wasmtime::Error::msg(text)
    })
}

/// The time of an event begins.
fn begin(store: &mut Store<GuestState>) {
    store.data_mut().begin();
    store.set_epoch_deadline(1);
}
