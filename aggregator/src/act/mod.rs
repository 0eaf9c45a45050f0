//! From a plan to the cloud. A step becomes an [`Intent`] in the [`journal`] before anything is
//! done; the checker judges it on a fresh description right before the call; what came of it is
//! settled, or found out, and [`aftermath`] says what follows. [`executor`] is all of that without IO, [`service`] drives it, [`Handle`] is what others ask,
//! [`control`] says how far it may go, [`call`] is the one place that changes anything.

pub mod aftermath;
pub mod call;
pub mod control;
pub mod executor;
mod handle;
mod hold;
pub mod intents;
pub mod journal;
pub mod leads;
pub mod ledger;
mod overdue;
pub(crate) mod reaper;
pub mod service;
pub(crate) mod sql;
mod traced;
pub mod verdicts;

pub use control::{Control, Leave, Said, Standing};
pub use executor::{Executor, Outlook, Seen};
pub use handle::Handle;
pub use intents::{Intents, Line};
pub use journal::{Intent, Settled};
pub use leads::{Kind, Lead, Leads};
pub use overdue::warnings as overdue_warnings;
pub use reaper::Stranded;
pub use service::Service;
pub use verdicts::{Judged, Planned, Surroundings, Verdict};
