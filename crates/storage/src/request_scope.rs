//! What rides along in the transactions of one request: its line in the audit log and its
//! idempotency key.
//!
//! The HTTP layer runs the handler of a writing request in a [`RequestScope`]. Every
//! [`Db::write`](crate::Db::write) for the caller's organisation that happens in there adds these
//! rows to the transaction of the effect itself, so that there is never the one without the other,
//! and no second flush of the disk. Handlers and services know nothing of it. A task that a handler
//! spawns for the request's own effect takes the scope along with [`carried`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use parlance_domain::kind::{AuditEntryId, MessageId, UserId};
use parlance_domain::{Result, Tenant, Timestamp};
use uuid::Uuid;

use crate::audit::{self, AuditEntry};
use crate::db::Scope;
use crate::idempotency::{self, Claim};
use crate::tx::Tx;

/// Ids that are remembered of one request.
const MOST_MADE: usize = 2048;

tokio::task_local! {
    static CURRENT: Arc<RequestScope>;
}

/// A line of the audit log before it is known who wrote it.
#[derive(Clone, Debug)]
pub struct AuditLine {
    /// Its id.
    pub id: AuditEntryId,
    /// Method of the request.
    pub method: &'static str,
    /// Path of the operation, with names in place of ids.
    pub operation: String,
    /// The last id of the path.
    pub object_id: Option<String>,
    /// The status of success.
    pub status: u16,
    /// Id of the request.
    pub request_id: String,
    /// Address that it came from.
    pub address: String,
    /// When it came.
    pub created_at: Timestamp,
}

/// Who makes the request.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// For which organisation.
    pub tenant: Tenant,
    /// The user behind the credential.
    pub user: Option<UserId>,
    /// Id of the credential.
    pub credential: Uuid,
    /// Whether their changes belong into the audit log.
    pub is_audited: bool,
}

/// The rows that belong to one request.
#[derive(Debug)]
pub struct RequestScope {
    audit: Option<AuditLine>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    writer: Option<Writer>,
    claim: Option<Claim>,
    made: Vec<Uuid>,
    answer_message: Option<MessageId>,
    effects: usize,
}

impl RequestScope {
    /// A request that is audited with this line, or not at all.
    pub fn new(audit: Option<AuditLine>) -> Arc<Self> {
        Arc::new(Self { audit, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a future whose writes belong to this request.
    pub fn run<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), future)
    }

    /// Says who makes the request.
    pub fn identify(&self, writer: Writer) {
        self.state().writer = Some(writer);
    }

    /// From now on each effect takes this idempotency key, or does not happen.
    pub fn claim(&self, claim: Claim) {
        self.state().claim = Some(claim);
    }

    /// Transactions that were committed.
    pub fn effects(&self) -> usize {
        self.state().effects
    }

    /// Who makes the request, once that is known.
    pub fn writer(&self) -> Option<Writer> {
        self.state().writer
    }

    /// The line of the audit log.
    pub fn audit_line(&self) -> Option<&AuditLine> {
        self.audit.as_ref()
    }

    /// Adds the request's rows to a transaction of its effect.
    async fn ride(&self, tx: &mut Tx) -> Result<()> {
        let (writer, claim, made, answer_message, first_made) = {
            let state = self.state();
            let made = if state.claim.is_some() { join(&state.made) } else { String::new() };
            (state.writer, state.claim.clone(), made, state.answer_message, state.made.first().copied())
        };
        let Some(writer) = writer else { return Ok(()) };
        if let Some(claim) = claim {
            idempotency::mark(tx, writer.tenant, &claim, &made, answer_message).await?;
        }
        if let Some(line) = self.audit.as_ref().filter(|_| writer.is_audited) {
            let object = line.object_id.clone().or_else(|| first_made.map(|id| id.to_string()));
            let entry = AuditEntry {
                id: line.id,
                user_id: writer.user,
                credential_id: writer.credential.to_string(),
                method: line.method.to_owned(),
                operation: line.operation.clone(),
                object_id: object,
                status: i64::from(line.status),
                request_id: line.request_id.clone(),
                address: line.address.clone(),
                created_at: line.created_at,
            };
            audit::insert(tx, writer.tenant, &entry).await?;
        }
        Ok(())
    }
}

/// Ids in the order they were made. None when there were too many to remember.
fn join(made: &[Uuid]) -> String {
    if made.len() >= MOST_MADE {
        return String::new();
    }
    made.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ")
}

/// A request whose rows belong into a write, if there is one under way here.
#[derive(Debug)]
pub(crate) struct Rider(Arc<RequestScope>);

impl Rider {
    /// The rider of a write with this scope.
    pub(crate) fn of(scope: Scope) -> Option<Self> {
        let Scope::Tenant(tenant) = scope else { return None };
        let current = CURRENT.try_with(Arc::clone).ok()?;
        let rides = {
            let state = current.state();
            let own = state.writer.filter(|writer| writer.tenant.is_same_organisation(tenant));
            // One line in the log is enough, but each effect notes what it made under the key.
            let needs_line = current.audit.is_some() && state.effects == 0;
            own.is_some_and(|writer| state.claim.is_some() || (needs_line && writer.is_audited))
        };
        rides.then_some(Self(current))
    }

    /// Adds the rows.
    pub(crate) async fn ride(&self, tx: &mut Tx) -> Result<()> {
        self.0.ride(tx).await
    }

    /// Notes that the transaction was committed.
    pub(crate) fn arrived(&self) {
        self.0.state().effects += 1;
    }
}

/// Notes an id that was made for a new thing.
pub fn note_made(id: Uuid) {
    // Outside of a request there is nobody who wants to know.
    let _ = CURRENT.try_with(|current| {
        let mut state = current.state();
        if state.made.len() < MOST_MADE {
            state.made.push(id);
        }
    });
}

/// Notes the answer of a chatbot that the request asks for.
pub fn note_answer(message: MessageId) {
    let _ = CURRENT.try_with(|current| current.state().answer_message = Some(message));
}

/// A future for a task of its own whose writes belong to the request that spawns it.
pub fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    let current = CURRENT.try_with(Arc::clone).ok();
    async move {
        match current {
            Some(current) => CURRENT.scope(current, future).await,
            None => future.await,
        }
    }
}
