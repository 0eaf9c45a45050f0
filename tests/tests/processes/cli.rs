//! Both binaries as a tired operator types them: what is wrong is said with file, line and key, and
//! before any port opens.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use foreshadow_tests::process::{binary, free_port};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

async fn run(name: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary(name)?);
    command.args(arguments).kill_on_drop(true);
    Ok(tokio::time::timeout(Duration::from_secs(60), command.output()).await??)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn a_wrong_configuration_is_listed_whole_and_opens_no_port() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let text = "[listen]\nadress = \"x\"\n[group.web]\nminimum = 5\nmaximum = 2\n[shadow]\ndefault_seconds = 7200\nmaximum_seconds = 3600\n";
    let file = write(directory.path(), "foreshadow.toml", text)?;
    let port = free_port()?;
    let data = directory.path().join("data");
    let serve = ["serve", "--config", &file, "--listen", &format!("127.0.0.1:{port}"), "--directory"];
    let data_text = data.display().to_string();
    for arguments in [[&serve[..], &[data_text.as_str()]].concat(), vec!["check-config", file.as_str()]] {
        let output = run("foreshadow", &arguments).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(64), "{said}");
        for expected in [
            format!("{file}:2: listen.adress: unknown key; did you mean \"address\"?"),
            format!("{file}:4: group.web.minimum: 5 is above group.web.maximum = 2"),
            format!("{file}:7: shadow.default_seconds: 7200 is above shadow.maximum_seconds = 3600"),
        ] {
            assert!(said.lines().any(|line| line == expected), "{expected}\nin\n{said}");
        }
        assert_eq!(said.lines().count(), 3, "{said}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "nothing listens");
    assert!(!data.exists(), "nothing was made");
    Ok(())
}

#[tokio::test]
async fn a_bad_network_is_named_and_nothing_runs() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let network = write(directory.path(), "network.onnx", "not onnx")?;
    let file = write(directory.path(), "foreshadow.toml", &format!("[forecast]\nnetwork = \"{network}\"\n"))?;
    let data = directory.path().join("data").display().to_string();
    let listen = format!("127.0.0.1:{}", free_port()?);
    let serve = vec!["serve", "--config", &file, "--listen", &listen, "--directory", &data];
    for (manifest, problem) in [(None, "network.json"), (Some("{}"), "missing field")] {
        if let Some(manifest) = manifest {
            write(directory.path(), "network.json", manifest)?;
        }
        for arguments in [serve.clone(), vec!["check-config", &file], vec!["models", "check", &network]] {
            let output = run("foreshadow", &arguments).await?;
            let said = said(&output);
            assert_eq!(output.status.code(), Some(64), "{said}");
            assert!(said.contains(problem) && said.contains("network."), "{said}");
        }
        assert!(!std::path::Path::new(&data).exists(), "nothing was made");
    }
    Ok(())
}

/// What `serve` refuses, `check-config` finds: at the line of the key, whoever reads the file.
#[tokio::test]
async fn check_config_finds_what_serve_refuses() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("data").display().to_string();
    let listen = format!("127.0.0.1:{}", free_port()?);
    for (text, faults) in [
        ("[identity]\ntokens = \"/nofile.toml\"\n", &[":2: identity.tokens: /nofile.toml cannot be read: "][..]),
        ("\n[forecast]\nnetwork = \"/nofile.onnx\"\n", &[":3: forecast.network: /nofile."]),
        (
            "[inventory.aws]\ngroups = [\"web\"]\nregion = \"eu-west-1\"\n[safety]\nshare_15_minutes = 0.5\n",
            &[":5: safety.share_15_minutes: 0.5 is above 0.1: looser"],
        ),
        (
            "[forecast]\nnetwork = \"/nofile.onnx\"\n[identity]\ntokens = \"/nofile.toml\"\n",
            &[":2: forecast.network: ", ":4: identity.tokens: "],
        ),
    ] {
        let file = write(directory.path(), "foreshadow.toml", text)?;
        let serve = ["serve", "--config", &file, "--listen", &listen, "--directory", &data];
        for arguments in [&serve[..], &["check-config", &file]] {
            let mut command = Command::new(binary("foreshadow")?);
            command.args(arguments).env("AWS_EC2_METADATA_DISABLED", "true").kill_on_drop(true);
            let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await??;
            let said = said(&output);
            assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
            for fault in faults {
                assert!(said.contains(&format!("{file}{fault}")), "{fault} in {said}");
            }
        }
    }
    // A file for another host is checked without what it names, and systemd gives credentials to the service alone.
    let elsewhere = write(directory.path(), "elsewhere.toml", "[identity]\ntokens = \"/nofile.toml\"\n")?;
    let right = run("foreshadow", &["check-config", "--without-files", &elsewhere]).await?;
    assert!(right.status.success(), "{}", said(&right));
    let given = write(directory.path(), "given.toml", "[identity]\ntokens = \"/run/credentials/no.service/t\"\n")?;
    let right = run("foreshadow", &["check-config", &given]).await?;
    assert!(right.status.success() && said(&right).contains("not looked at"), "{}", said(&right));
    // A secret that cannot be read, or is none, is found out before the night on which it is needed.
    let empty = write(directory.path(), "empty", "\n")?;
    let text = format!(
        "[store.influxdb]\nurl = \"http://127.0.0.1:8086\"\norganisation = \"o\"\nbucket = \"b\"\ntoken_file = \"/nofile\"\n\
         [notify.webhook]\nurl = \"http://127.0.0.1:9000/\"\nsecret_file = \"{empty}\"\n"
    );
    let secrets = write(directory.path(), "secrets.toml", &text)?;
    let wrong = run("foreshadow", &["check-config", &secrets]).await?;
    assert_eq!(wrong.status.code(), Some(64), "{}", said(&wrong));
    for fault in [":5: store.influxdb.token_file: /nofile: ", ":8: notify.webhook.secret_file: "] {
        assert!(said(&wrong).contains(&format!("{secrets}{fault}")), "{fault} in {}", said(&wrong));
    }
    let right = run("foreshadow", &["check-config", "--without-files", &secrets]).await?;
    assert!(right.status.success(), "{}", said(&right));
    Ok(())
}

#[tokio::test]
async fn what_is_found_without_an_aggregator_is_told_as_json_too() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let found = async |arguments: &[&str], code: i32| {
        let output = run("foreshadow", arguments).await?;
        anyhow::ensure!(output.status.code() == Some(code), "{arguments:?}: {}", said(&output));
        Ok(serde_json::from_slice::<Value>(&output.stdout)?)
    };
    let right = write(directory.path(), "right.toml", "[group.web]\nminimum = 1\nmaximum = 2\n")?;
    let told = found(&["check-config", "--json", &right], 0).await?;
    assert_eq!(told, json!({"file": right, "right": true, "not_looked_at": []}));
    let wrong = write(directory.path(), "wrong.toml", "[group.web]\nminimum = 5\nmaximum = 2\n")?;
    let told = found(&["check-config", "--json", &wrong], 64).await?;
    let fault =
        json!({"file": wrong, "line": 2, "key": "group.web.minimum", "problem": "5 is above group.web.maximum = 2"});
    assert_eq!(told, json!({"file": wrong, "right": false, "faults": [fault]}));
    let network = write(directory.path(), "network.onnx", "not onnx")?;
    let told = found(&["models", "check", "--json", &network], 64).await?;
    assert!(told["served"] == false && told["why"].as_str().is_some_and(|why| why.contains("network.json")), "{told}");
    // A token's entry is of this token, and opens with it.
    let told = found(&["token", "--name", "ops", "--role", "admin", "--json"], 0).await?;
    let (token, entry) = (told["token"].as_str().unwrap_or_default(), told["entry"].as_str().unwrap_or_default());
    let mut hash = Command::new("sh");
    hash.args(["-c", "printf %s \"$1\" | sha256sum", "sh", token]);
    let hash = String::from_utf8(hash.output().await?.stdout)?;
    let hash = hash.split(' ').next().unwrap_or_default();
    assert_eq!(entry, format!("[token.ops]\nrole = \"admin\"\nsha256 = \"{hash}\"\n"), "{told}");
    assert_eq!((&told["name"], &told["role"]), (&"ops".into(), &"admin".into()));
    // Series that are scored.
    let rows: String =
        (0..72).map(|hour| format!("2024-01-0{}T{:02}:00:00Z,{}\n", 1 + hour / 24, hour % 24, hour % 24)).collect();
    write(directory.path(), "shape.csv", &format!("timestamp,value\n{rows}"))?;
    let origins = json!({"rule": "x", "series": [{"series": "shape", "interval_seconds": 3_600, "horizon_steps": 24,
        "origins": ["2024-01-03T12:00:00Z"]}]});
    let origins = write(directory.path(), "origins.json", &origins.to_string())?;
    let (series, out) =
        (directory.path().display().to_string(), directory.path().join("out.jsonl").display().to_string());
    let told = found(&["eval", "--json", "--series", &series, "--origins", &origins, "--out", &out], 0).await?;
    assert_eq!(told, json!({"out": out, "forecasts": 1, "origins_without": 0}));
    Ok(())
}

#[tokio::test]
async fn wrong_use_is_64_and_names_only_what_is_missing() -> anyhow::Result<()> {
    for (arguments, word) in [
        (&["backtest", "--history", "store"][..], "--group"),
        (&["train", "--out", "x.onnx"], "--generated"),
        (&["pause", "--reason", ""], "must say why"),
        (&["predict", "web", "--confidence", "2"], "0.5 to 0.99"),
    ] {
        let output = run("foreshadow", arguments).await?;
        assert!(output.status.code() == Some(64) && said(&output).contains(word), "{arguments:?}: {}", said(&output));
    }
    let at = async |url: &str| {
        let mut command = Command::new(binary("foreshadow")?);
        command.args(["pause"]).env("FORESHADOW_URL", url).kill_on_drop(true);
        anyhow::Ok(tokio::time::timeout(Duration::from_secs(60), command.output()).await??)
    };
    for url in ["http://127.0.0.1:7070", ""] {
        let output = at(url).await?;
        let told = said(&output);
        assert!(output.status.code() == Some(64) && told.contains("--reason") && !told.contains("--url"), "{told}");
    }
    assert!(said(&at("nowhere").await?).contains("http://HOST:PORT"), "what is wrong in the environment is said");
    Ok(())
}

#[tokio::test]
async fn a_second_aggregator_says_who_may_be_there_and_how_to_listen_elsewhere() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let (listen, data) = (taken.local_addr()?.to_string(), directory.path().join("data").display().to_string());
    let output = run("foreshadow", &["serve", "--listen", &listen, "--directory", &data]).await?;
    let told = said(&output);
    assert!(output.status.code() == Some(1) && told.contains("something listens on"), "{told}");
    assert!(told.contains("ss -ltnp") && told.contains("--listen"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_agent_says_what_is_wrong_as_well() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = write(directory.path(), "agent.toml", "interval_seconds = 0\naggregater = \"http://x\"\n")?;
    for arguments in [vec!["--config", &file], vec!["check-config", &file]] {
        let output = run("foreshadow-agent", &arguments).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(&format!("{file}:1: interval_seconds: 0 is not in 1 to 60")), "{said}");
        assert!(said.contains(&format!("{file}:2: aggregater: unknown key; did you mean \"aggregator\"?")), "{said}");
    }
    let far = run("foreshadow-agent", &["--aggregator", "http://192.0.2.1:7070"]).await?;
    assert_eq!(far.status.code(), Some(64));
    assert!(said(&far).contains("plain text beyond this host"), "{}", said(&far));
    Ok(())
}

#[tokio::test]
async fn nothing_listens_beyond_loopback_without_tokens_and_tls() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = {
        let made = run("foreshadow", &["token", "--name", "ops", "--role", "admin"]).await?;
        let entry = said(&made);
        let start = entry.find("[token.").expect("an entry");
        let path = write(directory.path(), "tokens.toml", &entry[start..])?;
        std::process::Command::new("chmod").args(["640", &path]).status()?;
        path
    };
    let port = free_port()?;
    let listen = format!("[listen]\naddress = \"0.0.0.0:{port}\"\n");
    let open = write(directory.path(), "open.toml", &listen)?;
    let plain = write(directory.path(), "plain.toml", &format!("{listen}[identity]\ntokens = \"{tokens}\"\n"))?;
    for (file, word) in [(open, "token"), (plain, "insecure")] {
        let data = directory.path().join("data").display().to_string();
        let output = run("foreshadow", &["serve", "--config", &file, "--directory", &data]).await?;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(64), "{file}: {said}");
        assert!(said.contains(&format!("{file}:2: listen.address")) && said.contains(word), "{file}: {said}");
    }
    // The same by a flag, which the file knows nothing of.
    let data = directory.path().join("data").display().to_string();
    let output = run("foreshadow", &["serve", "--listen", &format!("0.0.0.0:{port}"), "--directory", &data]).await?;
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_ends_nothing_with_a_panic() -> anyhow::Result<()> {
    for (name, arguments) in [
        ("foreshadow", &["print-config"][..]),
        ("foreshadow", &["completions", "bash"]),
        ("foreshadow-agent", &["--once"]),
    ] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let child = Command::new(binary(name)?)
            .args(arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await??;
        assert!(output.status.success() && output.stderr.is_empty(), "{name} {arguments:?}: {}", said(&output));
    }
    Ok(())
}

#[tokio::test]
async fn help_version_and_print_config_answer() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for name in ["foreshadow", "foreshadow-agent"] {
        for flag in ["--help", "--version"] {
            let output = run(name, &[flag]).await?;
            assert!(output.status.success() && !output.stdout.is_empty() && output.stderr.is_empty(), "{name} {flag}");
        }
        assert_eq!(run(name, &["--no-such-flag"]).await?.status.code(), Some(64));
    }
    let file = write(directory.path(), "f.toml", "[identity]\ntokens = \"/etc/foreshadow/tokens.toml\"\n")?;
    assert_eq!(run("foreshadow", &["check-config"]).await?.status.code(), Some(64), "which one?");
    for arguments in
        [&["check-config", "--without-files", &file][..], &["check-config", "--without-files", "--config", &file]]
    {
        assert!(run("foreshadow", arguments).await?.status.success(), "{arguments:?}");
    }
    let bare = run("foreshadow", &["print-config", &file]).await?;
    let output = run("foreshadow", &["print-config", "--config", &file]).await?;
    assert_eq!(bare.stdout, output.stdout);
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(printed["listen"]["address"], "127.0.0.1:7070");
    assert_eq!(printed["store"]["raw_retention_hours"], 48);
    let once = run("foreshadow-agent", &["--once"]).await?;
    let sample: serde_json::Value = serde_json::from_slice(&once.stdout)?;
    assert!(sample["cpu_percent"].is_number() && sample["memory_total_bytes"].as_u64() > Some(0), "{sample}");
    Ok(())
}
