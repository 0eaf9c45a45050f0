//! What the rounds and the API ask of the loop that acts, and tell it; `service` is the loop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foreshadow_proto::convert::Id;
use planner::demand::InstanceMode;
use tokio::sync::mpsc;

use super::call;
use super::control::Control;
use super::executor::{Executor, Outlook, Seen};
use super::intents::Intents;
use super::leads::{Kind, Lead, Leads};
use super::reaper::Stranded;
use super::verdicts::{Planned, Verdict};
use crate::decision::{Decision, DecisionLog};
use crate::fleet::{Fleet, Outside, Reach, RunState, UNTIL_TAG};
use crate::leash::Leash;
use crate::shadow::ShadowSession;
use crate::store::StoreId;
use crate::traces::{Span, Traces};

/// What the rounds and the API ask and tell. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

/// A plan to be carried out.
#[derive(Debug)]
pub(super) struct Offered {
    pub planned: Arc<Planned>,
    /// Its decision's, to be told when something is begun.
    pub decision: Vec<Span>,
}

/// What it shares with the loop that acts.
#[derive(Debug)]
pub(super) struct Shared {
    pub executor: Mutex<Executor>,
    pub leads: Mutex<Leads>,
    pub leash: Leash,
    pub intents: Intents,
    pub decisions: DecisionLog,
    pub installation: StoreId,
    pub fleets: Vec<Arc<dyn Fleet>>,
    pub plans: mpsc::Sender<Offered>,
    /// The latest plan of each group: judged by until a call is made.
    pub newest: Mutex<BTreeMap<String, Arc<Planned>>>,
    pub traces: Traces,
    /// By source: who is stranded there, by the latest look.
    pub stranded: Mutex<BTreeMap<&'static str, Vec<Stranded>>>,
}

impl Handle {
    pub(super) fn of(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(super) fn fleets(&self) -> &[Arc<dyn Fleet>] {
        &self.0.fleets
    }

    /// Whether the lease of all groups is still this process's.
    pub(super) async fn owns(&self) -> bool {
        self.0.intents.lease().await.is_ok_and(|epoch| epoch == self.executor().epoch())
    }

    pub(super) fn executor(&self) -> MutexGuard<'_, Executor> {
        self.0.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leads(&self) -> MutexGuard<'_, Leads> {
        self.0.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn control(&self) -> &Control {
        self.0.leash.control()
    }

    /// Which limits hold.
    pub fn leash(&self) -> &Leash {
        &self.0.leash
    }

    /// Safety windows that changed hold from now on.
    pub fn follow_safety(&self) {
        self.executor().set_limits(self.0.leash.safety());
    }

    /// Leave to go below last week's need holds from now on.
    pub fn follow_leaves(&self) {
        self.executor().set_leaves(self.control().leaves());
    }

    pub fn intents(&self) -> &Intents {
        &self.0.intents
    }

    pub fn decisions(&self) -> &DecisionLog {
        &self.0.decisions
    }

    /// Writes down a plan with everything it was made from and judged by; durable on return.
    pub async fn record(&self, planned: &Planned) -> Result<(), sqlx::Error> {
        let decision = {
            let executor = self.executor();
            Decision::of(planned, *executor.limits(), executor.judged(planned, self.reach(planned.source)))
        };
        self.0.decisions.write(&decision).await
    }

    /// The source called `name`, if it can act.
    pub fn fleet(&self, name: Option<&str>) -> Option<&Arc<dyn Fleet>> {
        let acts = |fleet: &Arc<dyn Fleet>| self.0.leash.reach(fleet.name(), fleet.reach()) != Reach::None;
        self.0.fleets.iter().find(|fleet| Some(fleet.name()) == name && acts(fleet))
    }

    /// The name under which this installation owns groups.
    pub fn owner(&self) -> String {
        self.0.installation.to_string()
    }

    /// What the planner must reckon with. Tells the ledger what the inventory shows, and ends the lead
    /// times of those that serve by now (with the time since when, seconds).
    pub async fn outlook(
        &self,
        group: &Id,
        seen: &Seen,
        known: &BTreeMap<Id, InstanceMode>,
        serving: &[(Id, i64)],
        now: i64,
    ) -> Outlook {
        let outlook = self.executor().outlook(group, seen, known, now);
        let measured: Vec<_> = {
            let mut leads = self.leads();
            for (instance, called) in &outlook.arrived {
                leads.called(std::slice::from_ref(instance), Kind::Launch, *called);
            }
            let ended = serving.iter().filter_map(|(instance, since)| {
                let (kind, seconds) = leads.serves(group, instance, *since)?;
                Some((instance, kind, seconds, *since))
            });
            ended.collect()
        };
        for (instance, kind, seconds, since) in measured {
            tracing::info!(%instance, %group, kind = kind.word(), seconds, "lead time");
            if let Err(error) = self.0.intents.write_lead(group, instance, kind, seconds, since).await {
                tracing::warn!(%error, "a lead time cannot be written");
            }
        }
        outlook
    }

    /// What the checker says of a plan's steps by the evidence they were made from.
    pub fn judge(&self, planned: &Planned) -> Vec<Verdict> {
        self.executor().judge(planned, self.reach(planned.source))
    }

    /// How far the source called `name` reaches.
    pub fn reach(&self, name: Option<&str>) -> Reach {
        self.fleet(name).map_or(Reach::None, |fleet| self.0.leash.reach(fleet.name(), fleet.reach()))
    }

    /// Where decisions are told.
    pub fn traces(&self) -> &Traces {
        &self.0.traces
    }

    /// Hands a plan over to be carried out as far as its group's mode permits. It is never waited for. `decision` is told when
    /// something of it is begun.
    pub fn offer(&self, planned: Planned, decision: Vec<Span>) {
        let planned = Arc::new(planned);
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(planned.plan.group.clone(), planned.clone());
        drop(newest);
        if let Err(error) = self.0.plans.try_send(Offered { planned, decision }) {
            tracing::warn!(%error, "a plan is dropped: too many wait");
        }
    }

    /// The latest plan of a group that was handed over, whether it is carried out yet or not.
    pub(crate) fn newest(&self, group: &Id) -> Option<Arc<Planned>> {
        self.0.newest.lock().unwrap_or_else(PoisonError::into_inner).get(group.as_str()).cloned()
    }

    /// The tags of a shadow of ours follow its lease: they are what a reaper of another time goes by, and
    /// what the acting policy at AWS permits a termination by.
    pub async fn follow_lease(&self, session: &ShadowSession, source: Option<&str>) {
        let Some(fleet) = self.fleet(source) else { return };
        let instance = std::slice::from_ref(&session.instance);
        let tagged = match session.ended {
            None => self.mark_lease(session, source).await,
            Some(_) => {
                let untagged = call::untag_ours(&**fleet, &session.group, instance, &self.owner()).await;
                untagged.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = tagged {
            tracing::warn!(error, instance = %session.instance, "the tags of a lease cannot follow it");
        }
    }

    /// Says on the instance itself that it stands under our lease; a source that cannot act has nowhere to say it.
    pub async fn mark_lease(&self, session: &ShadowSession, source: Option<&str>) -> Result<(), String> {
        let Some(fleet) = self.fleet(source) else { return Ok(()) };
        let instance = std::slice::from_ref(&session.instance);
        call::lease(&**fleet, &session.group, instance, &self.owner(), session.until).await
    }

    /// The same of somebody else's shadow before it is adopted: what cannot be tagged could be neither brought back nor ended,
    /// so better nobody adopts it.
    pub async fn mark_adopted(&self, session: &ShadowSession, source: Option<&str>) -> Result<(), String> {
        let (instance, group) = (&session.instance, &session.group);
        self.mark_lease(session, source).await.map_err(|why| {
            format!(
                "its lease cannot be tagged, so it was not adopted: {why}. The acting policy lets us tag what carries \
                 foreshadow:group already: aws ec2 create-tags --resources {instance} --tags Key=foreshadow:group,Value={group}"
            )
        })
    }

    /// Instances that carry a lease which is over and that no plan will ever end.
    pub fn stranded(&self) -> Vec<Stranded> {
        let stranded = self.0.stranded.lock().unwrap_or_else(PoisonError::into_inner);
        stranded.values().flatten().cloned().collect()
    }

    pub(super) fn set_stranded(&self, source: &'static str, found: Vec<Stranded>) {
        let mut stranded = self.0.stranded.lock().unwrap_or_else(PoisonError::into_inner);
        for new in found.iter().filter(|new| !stranded.get(source).is_some_and(|known| known.contains(*new))) {
            tracing::error!(instance = %new.instance, why = new.why, "a shadow is stranded: it runs on, and costs");
        }
        stranded.insert(source, found);
        let all = stranded.values().map(Vec::len).sum::<usize>();
        metrics::gauge!("foreshadow_stranded_shadows").set(f64::from(u32::try_from(all).unwrap_or(u32::MAX)));
    }

    /// Marks who was taken over as ours in the cloud, if it still is what it was: running, alone, under a lease.
    /// `until`: the end of its new lease, seconds since the Unix epoch.
    pub async fn take_stranded(&self, fleet: &dyn Fleet, group: &Id, instance: &Id, until: i64) -> Result<(), String> {
        let one = std::slice::from_ref(instance);
        let shown = fleet.outside(group, one).await.map_err(|error| error.to_string())?;
        let fits = |it: &&Outside| it.instance == *instance && it.group.is_none() && it.state == RunState::Running;
        if !shown.iter().find(fits).is_some_and(|it| it.tags.contains_key(UNTIL_TAG)) {
            return Err(format!("{instance} does not run alone under a lease any more: nothing was taken over"));
        }
        call::lease(fleet, group, one, &self.owner(), until).await?;
        let mut stranded = self.0.stranded.lock().unwrap_or_else(PoisonError::into_inner);
        stranded.values_mut().for_each(|found| found.retain(|it| it.instance != *instance));
        Ok(())
    }

    /// A lead time of a group; `otherwise` until enough were measured.
    pub fn lead(&self, group: &Id, kind: Kind, otherwise: u32) -> Lead {
        self.leads().lead(group, kind, otherwise)
    }
}
