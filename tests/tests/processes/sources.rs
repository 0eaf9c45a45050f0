//! Fleets behind a program and behind a server: the examples of `docs/fleets.md` as they stand there,
//! run for real, and a server that answers what it should not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use foreshadow::clock::SystemClock;
use foreshadow::fleet::{
    Action, Called, Fleet, FleetError, Found, GROUP_TAG, Lifecycle, OWNER_TAG, Reach, RunState, Tags, Token, UNTIL_TAG,
    command, webhook,
};
use foreshadow::store::StoreId;
use foreshadow_proto::convert::Id;
use foreshadow_tests::process::{Aggregator, Process, eventually, free_port};
use foreshadow_tests::web;
use http::{Method, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::process::Command;

const STATE: &str = r#"{"groups": {"web": {"minimum": 1, "maximum": 5, "tags": {}, "members": ["m-0", "m-1", "m-2"]}},
    "machines": {"m-0": {"state": "running", "tags": {}}, "m-1": {"state": "running", "tags": {}},
                 "m-2": {"state": "running", "tags": {}}}, "tokens": {}}"#;
const WITHIN: Duration = Duration::from_secs(60);

/// The nth Python program of the document, made executable beside a state of three machines.
fn example(directory: &Path, nth: usize, name: &str) -> anyhow::Result<PathBuf> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleets.md");
    let document = std::fs::read_to_string(document)?;
    let program = document.split("```python\n").nth(nth + 1).and_then(|rest| rest.split("```").next());
    let path = directory.join(name);
    std::fs::write(&path, program.context("the example")?)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(directory.join("machines.json"), STATE)?;
    Ok(path)
}

fn groups() -> Vec<String> {
    vec!["web".to_owned()]
}

fn id(name: &str) -> Id {
    Id::new("id", name).expect("an id")
}

fn ids(names: &[&str]) -> Vec<Id> {
    names.iter().map(|name| id(name)).collect()
}

fn token(step: u32) -> Token {
    Token::new(StoreId([9; 16]), &id("web"), 1, step)
}

async fn members(fleet: &dyn Fleet) -> anyhow::Result<Vec<String>> {
    let inventory = fleet.describe().await?;
    anyhow::ensure!(inventory.complete, "{:?}", inventory.problems);
    let members = &inventory.groups.get(&id("web")).context("web")?.members;
    assert!(members.iter().all(|member| member.lifecycle == Lifecycle::InService));
    Ok(members.iter().map(|member| member.instance.as_str().to_owned()).collect())
}

/// Everything a source can do, in one life of three machines.
async fn everything(fleet: &dyn Fleet) -> anyhow::Result<()> {
    let web = id("web");
    let call = async |action: &Action, step: u32| fleet.call(&web, action, &token(step)).await;
    assert_eq!(members(fleet).await?, ["m-0", "m-1", "m-2"]);

    let launch = Action::launch(1, 4);
    assert_eq!(fleet.outcome(&web, &launch, &token(0)).await, Found::NotDone);
    let new = Called::Done { instances: ids(&["m-3"]) };
    assert_eq!(call(&launch, 0).await, new);
    // The same token again launches nobody and says the same.
    assert_eq!(call(&launch, 0).await, new);
    assert_eq!(fleet.outcome(&web, &launch, &token(0)).await, Found::Done { instances: ids(&["m-3"]) });
    assert_eq!(members(fleet).await?.len(), 4);
    let Called::Refused { why } = call(&Action::launch(5, 9), 1).await else { panic!("refused") };
    assert!(why.contains("9 is above the maximum 5 of web"), "{why}");

    let (one, tags) =
        (ids(&["m-1"]), Tags::from([(UNTIL_TAG, Some("7".to_owned())), (GROUP_TAG, Some("web".to_owned()))]));
    assert_eq!(call(&Action::Detach { instances: one.clone() }, 2).await, Called::Done { instances: one.clone() });
    assert_eq!(members(fleet).await?, ["m-0", "m-2", "m-3"]);
    fleet.tag(&one, &tags).await?;
    let tagged = fleet.tagged(UNTIL_TAG).await?;
    assert_eq!(tagged.iter().map(|found| &found.instance).collect::<Vec<_>>(), [&one[0]]);
    let outside = fleet.outside(&web, &ids(&["m-1", "m-2", "m-9"])).await?;
    let short: Vec<_> =
        outside.iter().map(|found| (found.instance.as_str(), found.state, found.group.clone())).collect();
    assert_eq!(
        short,
        [
            ("m-1", RunState::Running, None),
            ("m-2", RunState::Running, Some(web.clone())),
            ("m-9", RunState::Unknown, None)
        ]
    );
    assert_eq!((outside[0].in_target_group, outside[0].protected, outside[2].protected), (Some(false), false, true));
    fleet.tag(&one, &Tags::from([(UNTIL_TAG, None)])).await?;
    assert!(fleet.tagged(UNTIL_TAG).await?.is_empty());

    assert_eq!(call(&Action::Attach { instances: one.clone() }, 3).await, Called::Done { instances: one.clone() });
    let Called::Refused { why } = call(&Action::Terminate { instances: one.clone() }, 4).await else {
        panic!("a member is not terminated")
    };
    assert!(why.contains("m-1 is in web"), "{why}");
    assert_eq!(fleet.outcome(&web, &Action::Terminate { instances: one.clone() }, &token(4)).await, Found::NotDone);
    assert_eq!(call(&Action::Detach { instances: one.clone() }, 5).await, Called::Done { instances: one.clone() });
    assert_eq!(call(&Action::Terminate { instances: one.clone() }, 6).await, Called::Done { instances: one.clone() });
    assert_eq!(fleet.outside(&web, &one).await?[0].state, RunState::Ended);

    fleet.tag_group(&web, &Tags::from([(OWNER_TAG, Some("us".to_owned()))])).await?;
    assert_eq!(fleet.describe().await?.groups[&web].owner.as_deref(), Some("us"));

    // Nothing is asked for nobody, nor for a group that is not named.
    assert_eq!(call(&Action::Detach { instances: Vec::new() }, 7).await, Called::Done { instances: Vec::new() });
    let other = fleet.call(&id("other"), &launch, &token(8)).await;
    assert!(matches!(&other, Called::Refused { why } if why.contains("groups")), "{other:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_program_of_the_document_is_a_whole_fleet() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let program = example(directory.path(), 0, "machines")?;
    let clock = Arc::new(SystemClock);
    let fleet = command::source(program.clone(), groups(), WITHIN, Reach::Cloud, clock.clone());
    assert_eq!((fleet.name(), fleet.reach()), ("command", Reach::Cloud));
    everything(fleet.as_ref()).await?;

    // One that only describes is asked for nothing else.
    let fleet = command::source(program, groups(), WITHIN, Reach::None, clock);
    let before = std::fs::read_to_string(directory.path().join("machines.json"))?;
    assert_eq!(members(fleet.as_ref()).await?.len(), 3);
    let launch = Action::launch(1, 5);
    assert!(matches!(fleet.call(&id("web"), &launch, &token(9)).await, Called::Refused { .. }));
    assert!(fleet.tag(&ids(&["m-0"]), &Tags::from([(UNTIL_TAG, None)])).await.is_err());
    assert_eq!(std::fs::read_to_string(directory.path().join("machines.json"))?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_server_of_the_document_is_one_too_and_lets_in_nobody_else() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (port, secret) = (free_port()?, directory.path().join("secret"));
    std::fs::write(&secret, "a-long-secret\n")?;
    let program = example(directory.path(), 0, "machines")?;
    let mut server = Command::new("python3");
    server.arg(example(directory.path(), 1, "server.py")?).arg(port.to_string()).arg(&secret).arg(&program);
    let server = Process::start("server", server, directory.path())?;
    let url = format!("http://127.0.0.1:{port}/fleet");
    let unsigned = eventually("the server answers", WITHIN, async || {
        Ok(Some(web::request(Method::POST, &url, &[], "{\"operation\": \"describe\"}").await?))
    })
    .await?;
    assert_eq!(unsigned.status, 401, "{}", unsigned.body);

    let clock = Arc::new(SystemClock);
    let fleet = webhook::source(url.parse()?, secret, groups(), WITHIN, clock.clone());
    assert_eq!((fleet.name(), fleet.reach()), ("webhook", Reach::Loopback));
    everything(fleet.as_ref()).await.with_context(|| server.output())?;

    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "another-secret")?;
    let fleet = webhook::source(url.parse()?, wrong.clone(), groups(), WITHIN, clock.clone());
    let launch = Action::launch(1, 5);
    let Called::Refused { why } = fleet.call(&id("web"), &launch, &token(20)).await else { panic!("refused") };
    assert!(why.contains("401") && why.contains("the signature or its time is wrong"), "{why}");
    assert!(!why.contains("secret\n") && !why.contains("another-secret"), "{why}");
    // Without a secret nothing is sent.
    std::fs::write(&wrong, " \n")?;
    let Called::Refused { why } = fleet.call(&id("web"), &launch, &token(20)).await else { panic!("refused") };
    assert!(why.contains("is empty"), "{why}");
    let far = webhook::source("https://fleet.example.org".parse()?, wrong, groups(), WITHIN, clock);
    assert_eq!(far.reach(), Reach::Cloud);
    Ok(())
}

/// A server that answers everything with one status and body; 0 is no answer at all.
async fn answering(status: u16, body: &'static str) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |_| async move {
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                Response::builder().status(status).body(Full::new(Bytes::from_static(body.as_bytes())))
            });
            tokio::spawn(async move {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_should_not_answer_is_never_taken_for_done() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "s")?;
    let detach = Action::Detach { instances: ids(&["m-0"]) };
    let source = |url: &str, within: Duration| {
        anyhow::Ok(webhook::source(url.parse()?, secret.clone(), groups(), within, Arc::new(SystemClock)))
    };
    let whole = r#"{"complete": true, "groups": {"web": {"minimum": 0, "maximum": 1, "desired": 0, "members": []}}}"#;
    for (status, body, expected) in [
        (429, "", Called::Throttled),
        (503, whole, Called::Throttled),
        (500, "no", Called::Unknown),
        (502, whole, Called::Unknown),
        (302, "elsewhere", Called::Unknown),
        (200, "", Called::Unknown),
        (200, whole, Called::Unknown),
        (204, "", Called::Unknown),
    ] {
        let fleet = source(&answering(status, body).await?, WITHIN)?;
        assert_eq!(fleet.call(&id("web"), &detach, &token(0)).await, expected, "{status}");
        assert_eq!(fleet.outcome(&id("web"), &detach, &token(0)).await, Found::NotYet, "{status}");
        let described = fleet.describe().await;
        assert_eq!(described.is_ok(), status == 200 && body == whole, "{status}: {described:?}");
        assert!(fleet.tag(&ids(&["m-0"]), &Tags::from([(UNTIL_TAG, None)])).await.is_err(), "{status}");
    }
    let fleet = source(&answering(409, "the group\n is locked").await?, WITHIN)?;
    let Called::Refused { why } = fleet.call(&id("web"), &detach, &token(0)).await else { panic!("refused") };
    assert!(why.ends_with("answered 409: the group is locked"), "{why}");

    let silent = source(&answering(0, "").await?, Duration::from_millis(200))?;
    assert_eq!(silent.call(&id("web"), &detach, &token(0)).await, Called::Unknown);
    let nobody = source(&format!("http://127.0.0.1:{}", free_port()?), WITHIN)?;
    assert_eq!(nobody.call(&id("web"), &detach, &token(0)).await, Called::Unknown);
    assert!(matches!(nobody.describe().await, Err(FleetError::Unreachable { .. })));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_finds_its_groups_by_a_program() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let program = example(directory.path(), 0, "machines")?;
    let config = format!(
        "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\n\
         [inventory.command]\nprogram = \"{}\"\ngroups = [\"web\"]\ntimeout_seconds = 60\n",
        program.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let serving = eventually("the program's group", Duration::from_secs(60), async || {
        let groups = web::get_json(&format!("{}/groups", aggregator.url)).await?;
        Ok(groups["groups"].get(0).filter(|group| group["name"] == "web").map(|group| group["serving"].clone()))
    })
    .await?;
    assert_eq!(serving, 3);
    Ok(())
}
