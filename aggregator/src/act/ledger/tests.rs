use super::*;
use crate::fleet::Token;
use crate::store::StoreId;

const NOW: i64 = 1_800_000_000;

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

fn ids(names: &[&str]) -> Vec<Id> {
    names.iter().map(|name| id(name)).collect()
}

fn set(names: &[&str]) -> BTreeSet<Id> {
    names.iter().map(|name| id(name)).collect()
}

fn picture(members: &BTreeSet<Id>, serving: u32, taken: i64) -> Seen {
    Seen { members: members.clone(), serving, taken, ..Seen::default() }
}

fn intent(action: Action) -> Intent {
    let group = id("web");
    let token = Token::new(StoreId([1; 16]), &group, 1, 0);
    Intent { token, group, generation: 1, step: 0, epoch: 1, action, written_at: NOW, valid_until: NOW + 60 }
}

fn done(ledger: &mut Ledger, action: Action, instances: &[&str], at: i64) {
    ledger.settled(&intent(action), &Settled::Done { instances: ids(instances) }, at);
}

#[test]
fn what_was_launched_is_expected_until_it_is_seen_whatever_a_stale_inventory_says() {
    let mut ledger = Ledger::default();
    done(&mut ledger, Action::launch(2, 4), &["i-3", "i-4"], NOW);
    let stale = set(&["i-1", "i-2"]);
    ledger.seen(&id("web"), &picture(&stale, 2, NOW + 30), NOW + 30);
    assert_eq!(ledger.expected(&id("web"), &stale, NOW), 2);
    let one = set(&["i-1", "i-2", "i-3"]);
    ledger.seen(&id("web"), &picture(&one, 2, NOW + 40), NOW + 40);
    assert_eq!(ledger.expected(&id("web"), &one, NOW), 1);
    // Once seen it is not expected again, although it left since.
    assert_eq!(ledger.expected(&id("web"), &stale, NOW), 1);
    assert_eq!(ledger.expected(&id("other"), &stale, NOW), 0);
    assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 3_599), 2);
    assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 3_600), 0);
}

#[test]
fn a_raised_minimum_is_expected_to_fill_the_group() {
    let mut ledger = Ledger::default();
    ledger.seen(&id("web"), &picture(&set(&["i-1", "i-2"]), 2, NOW - 5), NOW - 5);
    done(&mut ledger, Action::launch(2, 4), &[], NOW);
    assert_eq!(ledger.expected(&id("web"), &set(&["i-1", "i-2"]), NOW), 2);
    let one = ledger.seen(&id("web"), &picture(&set(&["i-1", "i-2", "i-3"]), 2, NOW + 30), NOW + 30);
    assert_eq!(one, [(id("i-3"), NOW)], "whom it brought, for the lead time");
    let other = ledger.seen(&id("web"), &picture(&set(&["i-1", "i-2", "i-3", "i-4"]), 2, NOW + 40), NOW + 40);
    assert_eq!(other, [(id("i-4"), NOW)]);
    assert_eq!(ledger.expected(&id("web"), &set(&["i-1", "i-2"]), NOW), 0, "it was full once");
}

#[test]
fn whom_we_brought_back_fills_no_place_of_a_launch() {
    let mut ledger = Ledger::default();
    let (web, two) = (id("web"), set(&["i-1", "i-2"]));
    ledger.seen(&web, &picture(&two, 2, NOW - 5), NOW - 5);
    let back = Action::ExitStandby { instances: ids(&["s-1", "s-2"]) };
    done(&mut ledger, back, &["s-1"], NOW);
    let mode = |ledger: &Ledger, name| ledger.mode(&web, &id(name), InstanceMode::Shadow);
    assert_eq!((mode(&ledger, "s-1"), mode(&ledger, "s-2")), (Some(InstanceMode::Warming), None), "one was left out");
    // Two that are there, one that comes back, and two more.
    done(&mut ledger, Action::launch(2, 5), &[], NOW + 1);
    assert_eq!(ledger.expected(&web, &two, NOW), 2, "the third warms by its name");
    let three = set(&["i-1", "i-2", "s-1"]);
    assert_eq!(ledger.seen(&web, &picture(&three, 3, NOW + 20), NOW + 20), [], "no launch has brought it");
    assert_eq!(ledger.expected(&web, &three, NOW), 2);
    // Another comes back before the launched are to be seen: the provider's size grows with it.
    done(&mut ledger, Action::ExitStandby { instances: ids(&["s-2"]) }, &["s-2"], NOW + 30);
    assert_eq!(ledger.expected(&web, &three, NOW), 2);
    let five = set(&["i-1", "i-2", "i-3", "s-1", "s-2"]);
    assert_eq!(ledger.seen(&web, &picture(&five, 5, NOW + 60), NOW + 60), [(id("i-3"), NOW)]);
    assert_eq!(ledger.expected(&web, &five, NOW), 1);
    // And it shrinks with whom we take out.
    done(&mut ledger, Action::Detach { instances: ids(&["i-1"]) }, &["i-1"], NOW + 70);
    for shown in [five, set(&["i-2", "i-3", "s-1", "s-2"])] {
        drop(ledger.seen(&web, &picture(&shown, 5, NOW + 80), NOW + 80));
        assert_eq!(ledger.expected(&web, &shown, NOW), 1, "one is on its way still");
    }
}

#[test]
fn of_launches_that_name_nobody_the_first_has_brought_who_comes_and_a_late_one_measures_nothing() {
    let mut ledger = Ledger::default();
    let (web, two) = (id("web"), set(&["i-1", "i-2"]));
    ledger.seen(&web, &picture(&two, 2, NOW - 5), NOW - 5);
    done(&mut ledger, Action::launch(2, 4), &[], NOW);
    let second = Intent { written_at: NOW + 40, ..intent(Action::launch(1, 5)) };
    ledger.settled(&second, &Settled::Done { instances: Vec::new() }, NOW + 41);
    let four = set(&["i-1", "i-2", "i-3", "i-4"]);
    assert_eq!(ledger.seen(&web, &picture(&four, 2, NOW + 60), NOW + 60), [(id("i-3"), NOW), (id("i-4"), NOW)]);
    let five = set(&["i-1", "i-2", "i-3", "i-4", "i-5"]);
    assert_eq!(ledger.seen(&web, &picture(&five, 2, NOW + 70), NOW + 70), [(id("i-5"), NOW + 40)]);
    // Done a quarter of an hour after it was written, since the process was down: nobody knows when it was called.
    let late = Intent { written_at: NOW + 80, ..intent(Action::launch(1, 6)) };
    ledger.settled(&late, &Settled::Done { instances: Vec::new() }, NOW + 980);
    let six = set(&["i-1", "i-2", "i-3", "i-4", "i-5", "i-6"]);
    assert_eq!(ledger.seen(&web, &picture(&six, 2, NOW + 1_000), NOW + 1_000), []);
    // After a restart nobody knows who was there before.
    let mut again = Ledger::default();
    done(&mut again, Action::launch(1, 3), &[], NOW);
    again.restored(|_, _| BTreeSet::new(), NOW + 10);
    assert_eq!(again.seen(&web, &picture(&set(&["i-1", "i-2"]), 2, NOW + 20), NOW + 20), []);
    assert_eq!(again.seen(&web, &picture(&set(&["i-1", "i-2", "i-3"]), 2, NOW + 30), NOW + 30), [(id("i-3"), NOW)]);
}

#[test]
fn who_comes_back_soon_after_it_left_serves() {
    use InstanceMode::{Draining, Serving, Shadow, Warming};
    let (mut ledger, web) = (Ledger::default(), id("web"));
    let mode = |ledger: &Ledger, shown| ledger.mode(&web, &id("i-1"), shown);
    done(&mut ledger, Action::EnterStandby { instances: ids(&["i-1"]) }, &["i-1"], NOW);
    assert_eq!(mode(&ledger, Serving), Some(Draining));
    done(&mut ledger, Action::ExitStandby { instances: ids(&["i-1"]) }, &["i-1"], NOW + 20);
    assert_eq!((mode(&ledger, Shadow), mode(&ledger, Serving)), (Some(Warming), None));
    ledger.seen(&web, &picture(&set(&["i-1"]), 1, NOW + 30), NOW + 30);
    assert_eq!(mode(&ledger, Serving), None, "that it left is over, whenever an inventory could show it");
}

#[test]
fn what_was_taken_away_serves_no_more_until_an_inventory_can_show_it() {
    let mut ledger = Ledger::default();
    done(&mut ledger, Action::Detach { instances: ids(&["i-1"]) }, &["i-1"], NOW);
    done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
    done(&mut ledger, Action::Attach { instances: ids(&["s-2"]) }, &["s-2"], NOW);
    let still = set(&["i-1", "i-2"]);
    ledger.seen(&id("web"), &picture(&still, 2, NOW + 59), NOW + 60);
    use InstanceMode::{Serving, Shadow};
    let mode = |ledger: &Ledger, name: &str, shown| ledger.mode(&id("web"), &id(name), shown);
    assert_eq!(mode(&ledger, "i-1", Serving), Some(InstanceMode::Draining));
    assert_eq!(mode(&ledger, "s-1", Shadow), Some(InstanceMode::Gone));
    assert_eq!(mode(&ledger, "s-2", Shadow), Some(InstanceMode::Warming));
    assert_eq!(mode(&ledger, "i-2", Serving), None);
    // What the inventory shows already is believed: a shadow can come back at once.
    assert_eq!((mode(&ledger, "i-1", Shadow), mode(&ledger, "s-2", Serving)), (None, None));
    ledger.seen(&id("web"), &picture(&still, 2, NOW + 60), NOW + 70);
    let later = [("i-1", Serving), ("s-1", Shadow), ("s-2", Shadow)].map(|(name, shown)| mode(&ledger, name, shown));
    assert_eq!(later, [None; 3]);
}

#[test]
fn the_pace_counts_each_kind_by_itself() {
    let mut ledger = Ledger::default();
    for at in [NOW - KEPT - 1, NOW - 1_000, NOW - 10] {
        done(&mut ledger, Action::Detach { instances: ids(&["i-1", "i-2"]) }, &["i-1", "i-2"], at);
    }
    done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
    let web = id("web");
    assert_eq!(ledger.gone(&web, Way::Out, &[], NOW), Gone { last_15_minutes: 2, last_6_hours: 4 });
    assert_eq!(ledger.gone(&web, Way::End, &[], NOW), Gone { last_15_minutes: 1, last_6_hours: 1 });
    let everywhere = |way| ledger.gone_everywhere(way, &[], NOW);
    assert_eq!((everywhere(Way::Out), everywhere(Way::End)), (2, 1));
    let other = |group: &str| ledger.other_groups_in(&id(group), NOW).len();
    assert_eq!((other("web"), other("api")), (0, 1));
}

#[test]
fn who_leaves_standby_to_end_went_once() {
    let mut ledger = Ledger::default();
    done(&mut ledger, Action::Leave { instances: ids(&["s-1", "s-2"]) }, &["s-1", "s-2"], NOW - 100);
    let gone = |ledger: &Ledger, but: &[&str]| ledger.gone(&id("web"), Way::End, &ids(but), NOW).last_15_minutes;
    assert_eq!((gone(&ledger, &[]), gone(&ledger, &["s-1"])), (2, 1), "its end is no second one");
    assert_eq!(ledger.other_groups_in(&id("api"), NOW - 60).len(), 1, "and one group at a time counts it");
    done(&mut ledger, Action::Terminate { instances: ids(&["s-1"]) }, &["s-1"], NOW);
    assert_eq!(gone(&ledger, &[]), 2);
    assert_eq!(ledger.gone_everywhere(Way::End, &ids(&["s-2"]), NOW), 1);
    assert_eq!(ledger.gone_everywhere(Way::Out, &[], NOW), 0);
}

#[test]
fn launches_that_fail_back_off_and_a_success_ends_it() {
    let mut ledger = Ledger::default();
    let launch = || intent(Action::launch(1, 3));
    let refused = |by_cloud| Settled::Refused { why: vec!["no capacity".to_owned()], by_cloud, in_doubt: false };
    ledger.settled(&launch(), &refused(false), NOW);
    assert!(!ledger.launches_failing(&id("web"), NOW), "the checker's refusal is no failure");
    ledger.settled(&launch(), &refused(true), NOW);
    assert!(ledger.launches_failing(&id("web"), NOW + 299) && !ledger.launches_failing(&id("web"), NOW + 300));
    let again = |ledger: &Ledger, at| ledger.launch_again_at(&id("web"), at);
    assert_eq!((again(&ledger, NOW), again(&ledger, NOW + 300)), (Some(NOW + 300), None));
    let mut seldom = ledger.clone();
    seldom.settled(&launch(), &refused(true), NOW + FORGIVEN_AFTER);
    assert_eq!(again(&seldom, NOW + FORGIVEN_AFTER), Some(NOW + FORGIVEN_AFTER + 300), "hours later it is the first");
    ledger.settled(&launch(), &refused(true), NOW + 300);
    assert!(ledger.launches_failing(&id("web"), NOW + 899));
    for _ in 0..9 {
        ledger.settled(&launch(), &refused(true), NOW + 900);
    }
    assert!(!ledger.launches_failing(&id("web"), NOW + 900 + 1_800), "half an hour is the longest");
    done(&mut ledger, Action::launch(1, 3), &["i-9"], NOW + 900);
    ledger.seen(&id("web"), &picture(&set(&["i-9"]), 0, NOW + 910), NOW + 910);
    assert!(!ledger.launches_failing(&id("web"), NOW + 910));
    // One that never shows has failed.
    done(&mut ledger, Action::launch(1, 3), &["i-10"], NOW + 2_000);
    ledger.seen(&id("web"), &picture(&set(&["i-9"]), 0, NOW + 2_901), NOW + 2_901);
    assert!(ledger.launches_failing(&id("web"), NOW + 2_901));
    assert_eq!(ledger.expected(&id("web"), &set(&["i-9"]), NOW), 0);
}

#[test]
fn who_was_launched_before_a_failure_and_shows_after_it_ends_no_back_off() {
    let mut ledger = Ledger::default();
    done(&mut ledger, Action::launch(1, 3), &["i-8"], NOW);
    let refused = Settled::Refused { why: vec!["no capacity".to_owned()], by_cloud: true, in_doubt: false };
    ledger.settled(&intent(Action::launch(1, 4)), &refused, NOW + 60);
    ledger.seen(&id("web"), &picture(&set(&["i-8"]), 1, NOW + 90), NOW + 90);
    assert_eq!(ledger.launch_again_at(&id("web"), NOW + 90), Some(NOW + 360));
}

#[test]
fn a_launch_in_doubt_is_reckoned_with_and_is_no_failure() {
    let mut ledger = Ledger::default();
    let two = set(&["i-1", "i-2"]);
    let doubt = Settled::Refused { why: vec!["throttled".to_owned()], by_cloud: true, in_doubt: true };
    ledger.settled(&intent(Action::launch(2, 4)), &doubt, NOW);
    assert_eq!(ledger.expected(&id("web"), &two, NOW), 2);
    assert_eq!(ledger.launched_last_hour(&id("web"), NOW + 1), 2);
    ledger.seen(&id("web"), &picture(&two, 2, NOW + 901), NOW + 901);
    assert_eq!(ledger.expected(&id("web"), &two, NOW), 0);
    assert!(!ledger.launches_failing(&id("web"), NOW + 902));
}

#[test]
fn a_shadow_that_could_not_be_brought_back_is_left_alone_for_longer_each_time() {
    let mut ledger = Ledger::default();
    let attach = intent(Action::Attach { instances: ids(&["s-1"]) });
    let refused = Settled::Refused { why: vec!["its image is gone".to_owned()], by_cloud: true, in_doubt: false };
    for tried in 1..i64::from(TRIED_AT_ONCE) {
        ledger.settled(&attach, &refused, NOW - 100 + 10 * tried);
        assert_eq!(ledger.kept_out(NOW - 99 + 10 * tried), set(&[]), "tried again at once");
    }
    ledger.settled(&attach, &refused, NOW);
    assert_eq!((ledger.kept_out(NOW + 119), ledger.kept_out(NOW + 120)), (set(&["s-1"]), set(&[])));
    ledger.settled(&attach, &refused, NOW + 120);
    assert_eq!((ledger.kept_out(NOW + 359), ledger.kept_out(NOW + 360)), (set(&["s-1"]), set(&[])));
    for _ in 0..20 {
        ledger.settled(&attach, &refused, NOW + 400);
    }
    assert_eq!((ledger.kept_out(NOW + 2_199), ledger.kept_out(NOW + 2_200)), (set(&["s-1"]), set(&[])));
    done(&mut ledger, Action::Attach { instances: ids(&["s-1"]) }, &["s-1"], NOW + 2_200);
    ledger.settled(&attach, &refused, NOW + 3_000);
    assert_eq!(ledger.kept_out(NOW + 3_001), set(&[]), "it came back in between: from the beginning");
}

#[test]
fn what_was_launched_long_before_a_restart_is_no_failure_of_now() {
    let mut ledger = Ledger::default();
    done(&mut ledger, Action::launch(1, 3), &["i-3"], NOW - 3_600);
    done(&mut ledger, Action::launch(1, 4), &["i-4"], NOW - 60);
    ledger.restored(|_, _| BTreeSet::new(), NOW);
    ledger.seen(&id("web"), &picture(&set(&["i-1"]), 1, NOW + 10), NOW + 10);
    assert!(!ledger.launches_failing(&id("web"), NOW + 10), "whoever left since did not fail to come");
    assert_eq!(ledger.expected(&id("web"), &set(&["i-1"]), NOW), 1, "the other is on its way");
}

#[test]
fn six_hours_ago_is_remembered() {
    let mut ledger = Ledger::default();
    for minute in 0..600 {
        ledger.seen(&id("web"), &picture(&set(&[]), minute, NOW), NOW + 60 * i64::from(minute));
    }
    assert_eq!(ledger.served_6_hours_ago(&id("web")), 230);
    assert_eq!(ledger.served_6_hours_ago(&id("api")), 0);
}

#[test]
fn whom_the_provider_replaces_is_on_its_way_for_three_minutes_and_not_launched_for_twice() {
    let (web, four) = (id("web"), set(&["i-1", "i-2", "i-3", "i-4"]));
    let lacking = |lacking: u32, taken: i64| Seen { lacking, ..picture(&four, 4, taken) };
    let mut ledger = Ledger::default();
    ledger.seen(&web, &lacking(0, NOW), NOW);
    assert_eq!(ledger.expected(&web, &four, NOW), 0);
    // One of five died, and five are desired still.
    ledger.seen(&web, &lacking(1, NOW + 20), NOW + 20);
    assert_eq!(ledger.expected(&web, &four, NOW + 20), 1);
    // One that we launch beside it is counted once, whichever picture shows it: desired moves with it.
    done(&mut ledger, Action::launch(1, 6), &["i-6"], NOW + 40);
    assert_eq!(ledger.expected(&web, &four, NOW + 40), 1, "the older picture");
    ledger.seen(&web, &lacking(2, NOW + 50), NOW + 50);
    assert_eq!(ledger.expected(&web, &four, NOW + 50), 2);
    // What lacks for so long is not coming: we try ourselves.
    ledger.seen(&web, &lacking(2, NOW + 229), NOW + 229);
    assert_eq!(ledger.expected(&web, &four, NOW + 229), 2);
    assert_eq!(ledger.expected(&web, &four, NOW + 230), 1, "ours is waited for as ever");
    // Filled and lost anew, it is waited for anew.
    ledger.seen(&web, &lacking(0, NOW + 240), NOW + 240);
    ledger.seen(&web, &lacking(2, NOW + 260), NOW + 260);
    assert_eq!(ledger.expected(&web, &four, NOW + 260), 2);
}

#[test]
fn what_had_come_before_a_restart_is_not_expected_again_when_it_was_replaced_since() {
    let web = id("web");
    let newcomers = |names: &'static [&'static str]| {
        move |group: &Id, since: i64| {
            assert_eq!((group.as_str(), since), ("web", NOW));
            set(names)
        }
    };
    let restored = |launches: &[(u32, u32, &[&str])], came: &'static [&'static str]| {
        let mut ledger = Ledger::default();
        for (count, size, named) in launches {
            done(&mut ledger, Action::launch(*count, *size), named, NOW + 5);
        }
        ledger.restored(newcomers(came), NOW + 300);
        ledger.expected(&web, &set(&["i-1", "i-2"]), NOW + 300)
    };
    // By name: i-3 had come, and is gone; i-4 never came.
    assert_eq!(restored(&[(2, 4, &["i-3", "i-4"])], &["i-3", "i-9"]), 1);
    // By size: as many as were asked for had come, or not all of them.
    assert_eq!(restored(&[(2, 4, &[])], &["i-3", "i-4"]), 0);
    assert_eq!(restored(&[(2, 4, &[])], &["i-3"]), 2);
    // Of two launches, nobody counts for both.
    assert_eq!(restored(&[(2, 4, &[]), (1, 5, &[])], &["i-3", "i-4"]), 3);
}

#[test]
fn a_cloud_that_lets_nobody_out_is_asked_again_after_five_minutes_then_ten() {
    let mut ledger = Ledger::default();
    let refused = |by_cloud| Settled::Refused { why: vec!["AZRebalance would".to_owned()], by_cloud, in_doubt: false };
    let detach = || intent(Action::Detach { instances: ids(&["i-1"]) });
    let asks = |ledger: &Ledger, after: i64| !ledger.keeps_in(&id("web"), NOW + after);
    ledger.settled(&detach(), &refused(false), NOW);
    assert!(asks(&ledger, 0), "our own checker said no: the next plan may be another");
    ledger.settled(&detach(), &refused(true), NOW);
    assert_eq!([299, 300].map(|after| asks(&ledger, after)), [false, true]);
    assert!(!ledger.keeps_in(&id("other"), NOW));
    ledger.settled(&detach(), &refused(true), NOW + 400);
    assert_eq!([999, 1_000].map(|after| asks(&ledger, after)), [false, true]);
    done(&mut ledger, Action::Detach { instances: ids(&["i-1"]) }, &["i-1"], NOW + 1_000);
    ledger.settled(&detach(), &refused(true), NOW + 1_100);
    assert_eq!(
        [1_399, 1_400].map(|after| asks(&ledger, after)),
        [false, true],
        "one went in between: from the beginning"
    );
}

#[test]
fn who_is_heard_only_minutes_after_a_start_served_six_hours_ago_as_well() {
    let mut ledger = Ledger::default();
    let mut seen = |serving: u32, at: i64| {
        ledger.seen(&id("web"), &picture(&set(&[]), serving, at), at);
        ledger.served_6_hours_ago(&id("web"))
    };
    assert_eq!(seen(7, NOW), 7);
    assert_eq!(seen(26, NOW + 10), 26, "agents come back");
    assert_eq!(seen(19, NOW + 599), 26);
    assert_eq!(seen(40, NOW + 600), 26, "what is launched later did not serve then");
    assert_eq!(seen(50, NOW + 700), 26);
    assert_eq!(seen(30, NOW + 6 * 3_600 + 1), 40, "and later counts are what served when they were made");
}
