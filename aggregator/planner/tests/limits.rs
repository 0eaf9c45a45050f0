//! Guards on what those who stay carry, on what is counted on, and on money, shadows and hosts: each by a case of its own,
//! as in `guards`.

use std::collections::BTreeMap;

use planner::baseline::Baseline;
use planner::demand::{Demand, InstanceMode};
use planner::evidence::{
    Conditions, Evidence, Forecast, Instance, Inventory, MetricEvidence, Origin, Pulse, Shadow, Unfit, WindowMaximum,
};
use planner::hold::{Budget, Hold};
use planner::plan;
use planner::plan::{Memory, Plan, Step, worth};
use planner::policy::{Metric, Mode, Policy};

const NOW: i64 = 1_800_000_000;
const LARGE: &str = "large";

fn flat(demand: f64) -> Forecast {
    Forecast {
        start: NOW,
        step_seconds: 300,
        levels: vec![0.05, 0.5, 0.9, 0.95, 0.99],
        paths: [0.5, 0.9, 1.0, 1.0, 1.2].map(|level| vec![demand * level; 288]).to_vec(),
        model: "flat".to_owned(),
        trained_at: NOW,
        trust: 1.0,
        measured_coverage: None,
        nominal_coverage: 0.8,
        window_maximum: None,
        events: Vec::new(),
    }
}

fn measured(gross: f64, weight: f64, forecast: f64) -> MetricEvidence {
    let demand = Demand { gross, weight, serving: 10, reporting: 10, incomplete: false, saturated: false };
    MetricEvidence {
        demand: Some(demand),
        age_seconds: 10,
        highest_lately: None,
        baseline: Baseline::default(),
        baseline_doubt: None,
        forecast: Some(flat(forecast)),
    }
}

fn instance(id: &str, mode: InstanceMode) -> Instance {
    Instance {
        id: id.to_owned(),
        instance_type: None,
        zone: None,
        mode,
        since: NOW - 86_400,
        protected: false,
        shadow: None,
    }
}

/// Ten that serve carry `gross`, the first `large` of them of the large type.
fn mixed(large: usize, gross: f64) -> Evidence {
    let instances = (0..10).map(|number| Instance {
        instance_type: (number < large).then(|| LARGE.to_owned()),
        ..instance(&format!("i-{number}"), InstanceMode::Serving)
    });
    let weight = 10.0 + 3.0 * large as f64;
    Evidence {
        inventory: Inventory {
            complete: true,
            age_seconds: 10,
            instances: instances.collect(),
            ..Inventory::default()
        },
        metrics: BTreeMap::from([(Metric::Cpu, measured(gross, weight, gross))]),
        conditions: Conditions { started_seconds_ago: 7_200, ..Conditions::default() },
    }
}

/// A large one carries four times what another does.
fn policy() -> Policy {
    Policy {
        mode: Mode::Full,
        minimum: 1,
        maximum: 30,
        weights: BTreeMap::from([(LARGE.to_owned(), 4.0)]),
        ..Policy::new("web")
    }
}

fn made(policy: &Policy, evidence: &Evidence) -> Plan {
    plan(NOW, policy, evidence, &Memory::default()).0
}

fn changed(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

fn cpu(evidence: &mut Evidence) -> &mut MetricEvidence {
    evidence.metrics.get_mut(&Metric::Cpu).expect("cpu")
}

fn detached(plan: &Plan) -> Vec<String> {
    let of = |step: &Step| match step {
        Step::Detach { instances } => instances.clone(),
        _ => Vec::new(),
    };
    plan.steps.iter().flat_map(|step| of(&step.step)).collect()
}

fn launched(plan: &Plan) -> u32 {
    let of = |step: &Step| match step {
        Step::Launch { count } => *count,
        _ => 0,
    };
    plan.steps.iter().map(|step| of(&step.step)).sum()
}

fn shadow() -> Shadow {
    Shadow {
        origin: Origin::Ours,
        until: NOW + 600,
        lease_over: false,
        hard_limit: NOW + 86_400,
        unfit: vec![Unfit::OldVersion],
        sample_age_seconds: Some(1),
        quiet_seconds: 600,
        price_per_hour: Some(0.1),
        in_group: false,
        ending: false,
    }
}

#[test]
fn those_who_stay_carry_it_whoever_is_picked() {
    // Five of four and five of one: 25 at 60 points for 750. By the mean weight five may go, and any five are not the same.
    let plan = made(&policy(), &mixed(5, 750.0));
    assert_eq!(plan.need_now, Some(5));
    assert_eq!(detached(&plan), ["i-0", "i-1", "i-2"], "12 of 25: one more large one is too many, and 12.5 must stay");
    assert_eq!(plan.holds, [Hold::CarriesTooMuch { instances: 2 }]);
    // A large one in shadow carries nothing.
    let spare = changed(mixed(5, 750.0), |it| {
        let kind = Some(LARGE.to_owned());
        let shadow = Some(shadow());
        it.inventory.instances.push(Instance { instance_type: kind, shadow, ..instance("s-1", InstanceMode::Shadow) });
    });
    assert_eq!(detached(&made(&policy(), &spare)), ["i-0", "i-1", "i-2"]);
    // The small ones fit in beside.
    let roomy = made(&policy(), &mixed(5, 690.0));
    assert_eq!(detached(&roomy), ["i-0", "i-1", "i-2", "i-5", "i-6"][..detached(&roomy).len()]);
    assert!(detached(&roomy).contains(&"i-5".to_owned()), "{roomy:?}");
    // Whoever carries nothing that is known goes nowhere.
    let mut network = policy();
    network.targets = BTreeMap::from([(Metric::NetworkIn, 60.0)]);
    network.bandwidth_bits = BTreeMap::from([(LARGE.to_owned(), 1e9)]);
    let unknown = changed(mixed(9, 750.0), |it| {
        it.metrics = BTreeMap::from([(Metric::NetworkIn, measured(180.0, 9.0, 180.0))]);
    });
    let plan = made(&network, &unknown);
    assert!(!detached(&plan).contains(&"i-9".to_owned()) && !detached(&plan).is_empty(), "{plan:?}");
    // The greediest metric decides on each.
    let mut both = policy();
    both.targets.insert(Metric::Memory, 60.0);
    let two = |memory: f64| {
        changed(mixed(5, 300.0), |it| drop(it.metrics.insert(Metric::Memory, measured(memory, 25.0, memory))))
    };
    assert_eq!(detached(&made(&both, &two(750.0))), ["i-0", "i-1", "i-2"]);
    assert!(detached(&made(&both, &two(300.0))).len() > 3);
}

#[test]
fn what_must_be_carried_is_the_most_of_now_later_and_without_the_baseline() {
    let three = ["i-0", "i-1", "i-2"];
    let later = changed(mixed(5, 300.0), |it| cpu(it).forecast = Some(flat(750.0)));
    // Demand far below the forecast is a surprise; here it is what the forecast thought possible.
    let later = changed(later, |it| cpu(it).highest_lately = Some(400.0));
    assert_eq!(detached(&made(&policy(), &later)), three);
    let now = changed(mixed(5, 750.0), |it| cpu(it).forecast = Some(flat(300.0)));
    assert_eq!(detached(&made(&policy(), &now)), three);
    // b = 10 says that (750 - 250) / 50 = 10 are enough; without it 12.5 must stay.
    let idle = changed(mixed(5, 750.0), |it| {
        cpu(it).baseline.points = 10.0;
        cpu(it).forecast = Some(flat(300.0));
    });
    assert_eq!(detached(&made(&policy(), &idle)), three);
    // A lower target for present demand: 600 at 48 are 12.5.
    let lower = Policy { reactive_targets: BTreeMap::from([(Metric::Cpu, 48.0)]), ..policy() };
    assert_eq!(detached(&made(&lower, &mixed(5, 600.0))), three);
    // Half of the trust takes a quarter of the room.
    let doubted = changed(mixed(5, 300.0), |it| cpu(it).forecast.as_mut().expect("one").trust = 0.5);
    assert_eq!(detached(&made(&policy(), &doubted)), ["i-0", "i-5"], "a quarter of 20 is 5");
}

#[test]
fn what_hosts_take_lowers_capacity_and_a_lot_of_it_keeps_everybody() {
    let robbed = |percent: f64, gross: f64| {
        changed(mixed(0, gross), |it| {
            it.inventory.stolen = (0..10).map(|number| (format!("i-{number}"), percent)).collect();
        })
    };
    // 590 take ten of 60; of 54, eleven.
    assert_eq!(made(&policy(), &robbed(0.0, 590.0)).need_now, Some(10));
    let plan = made(&policy(), &robbed(10.0, 590.0));
    assert_eq!((plan.need_now, launched(&plan)), (Some(11), 1));
    let much = made(&policy(), &robbed(5.0, 200.0));
    assert_eq!((detached(&much).len(), much.holds.clone()), (0, vec![Hold::Stolen { percent: 5.0 }]));
    assert_eq!(detached(&made(&policy(), &robbed(4.9, 200.0))).len(), 6);
    for percent in [f64::NAN, 120.0] {
        assert_eq!(made(&policy(), &robbed(percent, 200.0)).holds[0], Hold::Stolen { percent: 100.0 });
    }
    assert_eq!(made(&policy(), &robbed(-9.0, 590.0)).need_now, Some(10));
    // A shadow that is robbed says nothing of those that serve.
    let elsewhere = changed(mixed(0, 200.0), |it| {
        it.inventory.instances.push(Instance { shadow: Some(shadow()), ..instance("s-1", InstanceMode::Shadow) });
        it.inventory.stolen = BTreeMap::from([("s-1".to_owned(), 100.0)]);
    });
    assert_eq!(made(&policy(), &elsewhere).holds, []);
    // Networks are not taken by who takes processors.
    let mut memory = policy();
    memory.targets = BTreeMap::from([(Metric::Memory, 60.0)]);
    let other = changed(robbed(4.0, 590.0), |it| {
        it.metrics = BTreeMap::from([(Metric::Memory, measured(590.0, 10.0, 590.0))]);
    });
    assert_eq!(made(&memory, &other).need_now, Some(10));
    let nobody = changed(robbed(50.0, 590.0), |it| it.inventory.instances.clear());
    assert!(made(&policy(), &nobody).holds.iter().all(|hold| !matches!(hold, Hold::Stolen { .. })));
}

#[test]
fn a_tenth_that_runs_out_of_credits_keeps_everybody() {
    let short = |ids: &[&str]| {
        changed(mixed(0, 200.0), |it| it.inventory.short_of_credits = ids.iter().map(ToString::to_string).collect())
    };
    let one = made(&policy(), &short(&["i-3"]));
    assert_eq!((detached(&one).len(), one.holds.clone()), (0, vec![Hold::OutOfCredits { instances: 1 }]));
    // Neither one that is not there any more nor one in eleven.
    assert_eq!(detached(&made(&policy(), &short(&["i-99"]))).len(), 6);
    let larger = changed(short(&["i-3"]), |it| it.inventory.instances.push(instance("i-10", InstanceMode::Serving)));
    assert!(!made(&policy(), &larger).holds.contains(&Hold::OutOfCredits { instances: 1 }));
    // What a shadow has left says nothing of those that serve, and nobody is no tenth of nobody.
    let elsewhere = changed(short(&["s-1", "s-2"]), |it| {
        for name in ["s-1", "s-2"] {
            it.inventory.instances.push(Instance { shadow: Some(shadow()), ..instance(name, InstanceMode::Shadow) });
        }
    });
    assert_eq!(made(&policy(), &elsewhere).holds, []);
    let nobody = changed(short(&[]), |it| it.inventory.instances.clear());
    assert!(made(&policy(), &nobody).holds.iter().all(|hold| !matches!(hold, Hold::OutOfCredits { .. })));
    // Whoever is needed comes all the same.
    let busy = changed(short(&["i-3"]), |it| *cpu(it) = measured(900.0, 10.0, 900.0));
    assert_eq!(launched(&made(&policy(), &busy)), 5);
}

#[test]
fn errors_above_their_limit_or_not_told_take_nobody_away() {
    let errors = Metric::declare("errors").expect("a name");
    let careful = Policy { veto_above: BTreeMap::from([(errors, 5.0)]), ..policy() };
    let told = |value: Option<f64>| {
        changed(mixed(0, 200.0), |it| it.conditions.vetoes = value.map(|value| (errors, value)).into_iter().collect())
    };
    for calm in [0.0, 5.0] {
        let plan = made(&careful, &told(Some(calm)));
        assert_eq!((detached(&plan).len(), plan.holds), (6, vec![]), "{calm}");
    }
    for value in [5.1, f64::INFINITY] {
        let plan = made(&careful, &told(Some(value)));
        let hold = Hold::Vetoed { metric: errors, value, limit: 5.0 };
        assert_eq!((detached(&plan).len(), plan.holds), (0, vec![hold]), "{value}");
    }
    assert_eq!(detached(&made(&careful, &told(Some(f64::NAN)))).len(), 0);
    let silent = made(&careful, &told(None));
    assert_eq!((detached(&silent).len(), silent.holds), (0, vec![Hold::VetoUntold { metric: errors }]));
    // Nobody asked about it, and whoever is needed comes all the same.
    assert_eq!(detached(&made(&policy(), &told(Some(99.0)))).len(), 6);
    let busy = changed(told(Some(99.0)), |it| *cpu(it) = measured(900.0, 10.0, 900.0));
    assert_eq!(launched(&made(&careful, &busy)), 5);
    // A shadow does not end either.
    let ends = |value| {
        let over = Shadow { lease_over: true, until: NOW - 1, ..shadow() };
        changed(told(Some(value)), |it| {
            it.inventory.instances.push(Instance { shadow: Some(over), ..instance("s-1", InstanceMode::Shadow) });
        })
    };
    let terminated = |evidence: &Evidence| {
        let steps = made(&careful, evidence).steps;
        steps.iter().any(|step| matches!(step.step, Step::Terminate { .. }))
    };
    assert_eq!((terminated(&ends(5.0)), terminated(&ends(5.1))), (true, false));
    for wrong in [(Metric::Cpu, 5.0), (errors, -1.0), (errors, f64::NAN)] {
        let policy = Policy { veto_above: BTreeMap::from([wrong]), ..policy() };
        assert_eq!(policy.problems().iter().map(|it| it.field).collect::<Vec<_>>(), ["veto_above"]);
    }
}

#[test]
fn memory_that_is_nearly_full_takes_nobody_away_unless_it_has_a_target() {
    let full = |percent: f64| changed(mixed(0, 200.0), |it| it.conditions.memory_percent = Some(percent));
    let calm = made(&policy(), &full(90.0));
    assert_eq!((detached(&calm).len(), calm.holds), (6, vec![]));
    let plan = made(&policy(), &full(90.1));
    assert_eq!((detached(&plan).len(), plan.holds), (0, vec![Hold::MemoryFull { percent: 90.1 }]));
    assert_eq!(detached(&made(&policy(), &full(f64::NAN))).len(), 0);
    let mut opted = policy();
    opted.targets.insert(Metric::Memory, 80.0);
    assert!(made(&opted, &full(99.0)).holds.iter().all(|hold| !matches!(hold, Hold::MemoryFull { .. })));
    let busy = changed(full(99.0), |it| *cpu(it) = measured(900.0, 10.0, 900.0));
    assert_eq!(launched(&made(&policy(), &busy)), 5);
}

#[test]
fn the_windows_own_maximum_keeps_whom_its_steps_would_let_go() {
    let until = policy().scale_in_until(NOW);
    let largest = |until: i64, quantile: f64, demand: f64| {
        changed(mixed(0, 200.0), |it| {
            let forecast = cpu(it).forecast.as_mut().expect("a forecast");
            forecast.window_maximum = Some(WindowMaximum { until, quantile, demand });
        })
    };
    // Ten serve, four are enough for every step.
    assert_eq!(detached(&made(&policy(), &largest(until, 0.95, 0.0))).len(), 6, "it only adds to the steps");
    let plan = made(&policy(), &largest(until, 0.95, 400.0));
    assert_eq!((detached(&plan).len(), plan.needs[0].window), (3, Some(7)), "{plan:?}");
    // One that looks less far, or is less sure, says nothing; one that is no number is not sure at all.
    assert_eq!(detached(&made(&policy(), &largest(until - 1, 0.95, 400.0))).len(), 6);
    assert_eq!(detached(&made(&policy(), &largest(until, 0.9, 400.0))).len(), 6);
    let nothing = made(&policy(), &largest(until, 0.95, f64::NAN));
    assert_eq!((detached(&nothing).len(), nothing.holds), (0, vec![Hold::ShortHorizon { metric: Metric::Cpu }]));
    // And whom it may need does not end.
    let ends = |demand: f64| {
        let over = Shadow { lease_over: true, until: NOW - 1, ..shadow() };
        changed(largest(until, 0.95, demand), |it| {
            it.inventory.instances.push(Instance { shadow: Some(over), ..instance("s-1", InstanceMode::Shadow) });
        })
    };
    let terminated = |evidence: &Evidence| {
        let steps = made(&policy(), evidence).steps;
        steps.iter().any(|step| matches!(step.step, Step::Terminate { .. }))
    };
    assert_eq!((terminated(&ends(200.0)), terminated(&ends(700.0))), (true, false));
}

#[test]
fn cpu_that_falls_alone_takes_nobody_away() {
    let with = |cpu, network| changed(mixed(0, 200.0), |it| it.conditions.pulse = Some(Pulse { cpu, network }));
    let hung = made(&policy(), &with(0.7, 1.0));
    assert_eq!((detached(&hung).len(), hung.holds.clone()), (0, vec![Hold::Hung { cpu: 0.7, network: 1.0 }]));
    // A hang behind a rush: less than half is done for what comes in.
    assert_eq!(made(&policy(), &with(0.9, 1.8)).holds, [Hold::Hung { cpu: 0.9, network: 1.8 }]);
    assert_eq!(made(&policy(), &with(1.2, 2.4)).holds, [Hold::Hung { cpu: 1.2, network: 2.4 }]);
    for (cpu, network) in [(0.71, 1.4), (0.5, 0.79), (0.1, 0.1), (0.1, 0.3), (0.9, 1.79), (1.2, 2.0)] {
        assert_eq!(detached(&made(&policy(), &with(cpu, network))).len(), 6, "{cpu} {network}");
    }
}

#[test]
fn who_never_gets_ready_is_counted_on_no_more() {
    let warming = |age: i64| {
        changed(mixed(0, 800.0), |it| {
            it.inventory.instances.push(Instance { since: NOW - age, ..instance("w-1", InstanceMode::Warming) });
            it.inventory.instances.push(Instance { since: NOW - 60, ..instance("w-2", InstanceMode::Warming) });
        })
    };
    let coming = made(&policy(), &warming(900));
    assert_eq!((launched(&coming), coming.warming), (2, 2));
    let overdue = made(&policy(), &warming(901));
    assert_eq!((launched(&overdue), overdue.warming), (3, 2));
    let hold = Hold::NeverReady { instances: 1, after_seconds: 900 };
    assert_eq!(overdue.holds, [hold.clone(), Hold::Warming { instances: 1 }]);
    // Where launches take long it is on its way for longer.
    let slow = Policy { launch_lead_seconds: 600, ..policy() };
    assert_eq!((launched(&made(&slow, &warming(1_200))), launched(&made(&slow, &warming(1_201)))), (2, 3));
    // It counts against the maximum, since the provider counts it.
    assert_eq!(launched(&made(&Policy { maximum: 13, ..policy() }, &warming(901))), 1);
    // Nobody goes while somebody else does not come.
    let idle = changed(warming(901), |it| *cpu(it) = measured(200.0, 10.0, 200.0));
    assert_eq!((detached(&made(&policy(), &idle)).len(), made(&policy(), &idle).holds), (0, vec![hold]));
    // One that serves for long is not late.
    assert_eq!(detached(&made(&policy(), &mixed(0, 200.0))).len(), 6);
}

#[test]
fn after_failed_launches_the_next_waits_and_says_for_how_long() {
    let failed = |again: i64| changed(mixed(0, 800.0), |it| it.conditions.launch_again_at = Some(NOW + again));
    let waits = made(&policy(), &failed(1));
    assert_eq!(launched(&waits), 0);
    assert_eq!(waits.holds, [Hold::BackOff { next_try: NOW + 1, seconds_left: 1 }]);
    assert_eq!(launched(&made(&policy(), &failed(0))), 4);
    let enough = changed(failed(300), |it| *cpu(it) = measured(560.0, 10.0, 560.0));
    assert_eq!(made(&policy(), &enough).holds, [], "nothing was to be launched");
    let fit = Shadow { unfit: Vec::new(), ..shadow() };
    let back = changed(failed(300), |it| {
        *cpu(it) = measured(620.0, 10.0, 620.0);
        it.inventory.instances.push(Instance { shadow: Some(fit), ..instance("s-1", InstanceMode::Shadow) });
    });
    let back = made(&policy(), &back);
    assert!(matches!(back.steps[0].step, Step::Reattach { .. }), "what runs already comes back: {back:?}");
    assert_eq!(back.holds, []);
}

#[test]
fn money_that_is_limited_needs_prices_and_counts_who_is_on_the_way() {
    let rich = Policy { spend_per_hour: Some(1.3), ..policy() };
    let priced = |cost: Option<f64>, price: Option<f64>| {
        changed(mixed(1, 1_040.0), |it| {
            (it.conditions.cost_per_hour, it.conditions.price_per_hour) = (cost, price);
            it.inventory.prices = BTreeMap::from([(LARGE.to_owned(), 0.4)]);
            it.inventory.instances[1].instance_type = Some("other".to_owned());
            it.inventory
                .instances
                .push(Instance { instance_type: Some("gone".to_owned()), ..instance("i-gone", InstanceMode::Gone) });
        })
    };
    let wanted = launched(&made(&policy(), &priced(None, None)));
    assert!(wanted > 3, "{wanted}");
    for (cost, price) in [(None, Some(0.1)), (Some(1.0), None), (None, None)] {
        let plan = made(&rich, &priced(cost, price));
        assert_eq!(launched(&plan), 0);
        let types = vec!["a type that is not told".to_owned(), "other".to_owned()];
        assert_eq!(plan.holds, [Hold::Unpriced { types }]);
        assert!(plan.holds[0].to_string().contains("no price of a type that is not told, other"));
    }
    assert_eq!(launched(&made(&rich, &priced(Some(1.0), Some(0.1)))), 3);
    let coming = changed(priced(Some(1.0), Some(0.1)), |it| it.inventory.expected = 1);
    assert_eq!(launched(&made(&rich, &coming)), 2, "who is on the way costs as well");
    let fit = Shadow { unfit: Vec::new(), ..shadow() };
    let back = changed(mixed(0, 620.0), |it| {
        it.inventory.instances.push(Instance { shadow: Some(fit), ..instance("s-1", InstanceMode::Shadow) });
    });
    let back = made(&rich, &back);
    assert_eq!((back.steps.len(), back.holds), (1, vec![]), "who comes back has no price to be known");
    let enough = changed(priced(None, None), |it| *cpu(it) = measured(500.0, 13.0, 500.0));
    let enough = made(&Policy { minimum: 10, ..rich }, &enough);
    assert!(enough.holds.iter().all(|hold| !matches!(hold, Hold::Unpriced { .. })), "{enough:?}");
}

#[test]
fn no_more_stand_in_shadow_than_may() {
    let at_most = |most| Policy { shadows_at_most: Some(most), ..policy() };
    let standing = changed(mixed(0, 200.0), |it| {
        it.inventory.instances.push(Instance { shadow: Some(shadow()), ..instance("s-1", InstanceMode::Shadow) });
        it.inventory.instances.push(instance("d-1", InstanceMode::Draining));
    });
    let hold = |at_most| Hold::BudgetSpent { budget: Budget::Shadows { at_most } };
    let plan = made(&at_most(5), &standing);
    assert_eq!((detached(&plan).len(), plan.holds.clone(), plan.wants_in), (3, vec![hold(5)], 6));
    let none = made(&at_most(1), &standing);
    assert_eq!((detached(&none).len(), none.holds.clone()), (0, vec![hold(1)]));
    assert_eq!(made(&at_most(8), &standing).holds, []);
}

#[test]
fn what_a_group_wants_is_told_before_others_and_the_pace_have_their_say() {
    let with = |change: fn(&mut Evidence)| made(&policy(), &changed(mixed(0, 200.0), change));
    assert_eq!(with(|_| {}).wants_in, 6);
    let common = with(|it| it.conditions.common_cause = true);
    assert_eq!((detached(&common).len(), common.wants_in), (0, 6), "held, it wants to as much as before");
    assert_eq!(with(|it| it.conditions.detachable = Some(0)).wants_in, 6);
    assert_eq!(with(|it| it.conditions.changing = true).wants_in, 6);
    let surprised = with(|it| cpu(it).forecast = Some(flat(419.0)));
    assert!(matches!(surprised.holds[..], [Hold::Surprise { .. }]), "{surprised:?}");
    assert!(surprised.wants_in > 0, "what surprises one lets the next scale in");
    assert_eq!(with(|it| it.conditions.deploying = true).wants_in, 0, "it would not go by itself");
    let both = with(|it| (it.conditions.common_cause, it.conditions.deploying) = (true, true));
    assert_eq!(both.wants_in, 0);
    let busy = made(&policy(), &mixed(0, 590.0));
    assert_eq!(busy.wants_in, 0);
    assert_eq!(made(&policy(), &mixed(0, 900.0)).wants_in, 0, "it wants out");
    let small = made(&Policy { change_cost: 10.0, ..policy() }, &mixed(0, 200.0));
    assert_eq!(small.wants_in, 0);
}

#[test]
fn a_spare_is_worth_what_would_be_missing_without_it() {
    // Ten serve. At the 99 % level 10.25 are needed, below it no more than ten.
    let evidence = |top: f64| {
        changed(mixed(0, 560.0), |it| {
            let forecast = cpu(it).forecast.as_mut().expect("one");
            forecast.levels = vec![0.05, 0.9, 0.901, 0.99];
            forecast.paths = [300.0, 500.0, top, top].map(|demand| vec![demand; 288]).to_vec();
        })
    };
    let of = |top: f64| worth(NOW, &policy(), &evidence(top), 11, Some(0.1));
    let quarter = of(615.0);
    assert!((quarter.probability - 0.1).abs() < 0.01, "{quarter:?}");
    assert!((quarter.shortfall - 0.25).abs() < 0.05, "{quarter:?}");
    let lead = f64::from(policy().launch_lead_seconds - policy().reattach_lead_seconds) / 3_600.0;
    let saves = quarter.probability * quarter.shortfall * lead * policy().late_cost_per_hour;
    assert!((quarter.saves - saves).abs() < 1e-9, "{quarter:?}");
    assert!(of(900.0).shortfall > 0.99, "one spare is one instance at most: {:?}", of(900.0));
    assert_eq!((of(599.0).probability, of(599.0).shortfall), (0.0, 0.0));
    let unknown = changed(mixed(0, 560.0), |it| cpu(it).forecast = None);
    let unknown = worth(NOW, &policy(), &unknown, 11, None);
    assert_eq!((unknown.probability, unknown.shortfall), (1.0, 1.0), "doubt keeps what it has");
    // Of two metrics the one by which it is missed most.
    let mut both = policy();
    both.targets.insert(Metric::Memory, 60.0);
    let two = changed(evidence(615.0), |it| drop(it.metrics.insert(Metric::Memory, measured(400.0, 10.0, 400.0))));
    assert_eq!(worth(NOW, &both, &two, 11, Some(0.1)).shortfall, quarter.shortfall);
    let ended = changed(mixed(0, 560.0), |it| {
        let over = Shadow { lease_over: true, ..shadow() };
        it.inventory.instances.push(Instance { shadow: Some(over), ..instance("s-1", InstanceMode::Shadow) });
    });
    let plan = made(&policy(), &ended);
    assert!(plan.steps[0].reason.contains("not worth keeping: needed with probability 0."), "{plan:?}");
    let worthy = |unfit: Vec<Unfit>, hard_limit: i64| {
        let over = Shadow { lease_over: true, hard_limit, price_per_hour: Some(0.0), unfit, ..shadow() };
        changed(evidence(596.0), |it| {
            it.inventory.instances.push(Instance { shadow: Some(over), ..instance("s-1", InstanceMode::Shadow) });
            let forecast = cpu(it).forecast.as_mut().expect("one");
            forecast.levels.push(0.999);
            forecast.paths.push(vec![650.0; 288]);
        })
    };
    let step = |evidence: Evidence| made(&policy(), &evidence).steps[0].step.clone();
    assert!(matches!(step(worthy(Vec::new(), NOW + 1)), Step::Extend { .. }), "it is worth keeping");
    assert!(
        matches!(step(worthy(vec![Unfit::OldVersion], NOW + 1)), Step::Terminate { .. }),
        "one that cannot come back"
    );
    let plan = made(&policy(), &worthy(Vec::new(), NOW));
    assert!(plan.steps[0].reason.contains("could not come back, or not for longer: needed with"), "{plan:?}");
}

#[test]
fn trust_and_baseline_are_told_as_they_are_reckoned_with() {
    for (trust, told) in [(1.5, 1.0), (-0.5, 0.0), (0.4, 0.4)] {
        let evidence = changed(mixed(0, 400.0), |it| cpu(it).forecast.as_mut().expect("one").trust = trust);
        assert_eq!(made(&policy(), &evidence).needs[0].trust, told, "{trust}");
    }
    // One below zero would say that an instance carries more than all of its target.
    for (points, told) in [(-10.0, 0.0), (10.0, 10.0), (31.0, 0.0)] {
        let evidence = changed(mixed(0, 400.0), |it| cpu(it).baseline.points = points);
        assert_eq!(made(&policy(), &evidence).needs[0].baseline, told, "{points}");
    }
}

#[test]
fn nobody_to_take_is_not_in_the_record_and_somebody_is() {
    let record = |gross| {
        let plan = made(&policy(), &mixed(0, gross));
        let json = serde_json::to_value(&plan).expect("json");
        (plan.wants_in, json.get("wants_in").and_then(serde_json::Value::as_u64))
    };
    assert_eq!(record(600.0), (0, None));
    let (wanted, told) = record(300.0);
    assert!(wanted > 0 && told == Some(u64::from(wanted)), "{wanted} {told:?}");
}

#[test]
fn levels_that_cannot_be_make_no_spare_worth_less_than_nothing() {
    let of = |levels: &[f64], demands: &[f64]| {
        let evidence = changed(mixed(0, 400.0), |it| {
            let forecast = cpu(it).forecast.as_mut().expect("one");
            forecast.levels = levels.to_vec();
            forecast.paths = demands.iter().map(|demand| vec![*demand; 288]).collect();
        });
        worth(NOW, &policy(), &evidence, 11, Some(0.1))
    };
    for (level, probability) in [(-1.0, 1.0), (0.5, 0.5), (2.0, 0.0)] {
        assert_eq!(of(&[level], &[900.0]).probability, probability, "{level}");
    }
    // Levels that cross: where it is not needed, nothing of it is missing.
    let crossed = of(&[0.05, 0.4, 0.6, 0.95], &[900.0, 0.0, 0.0, 900.0]).shortfall;
    assert!(crossed > 0.0 && crossed < 1.0, "{crossed}");
}
