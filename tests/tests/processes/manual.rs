//! Completions that a shell takes, manual pages that `man` shows without a word of complaint, and exit codes as they are told.

use std::path::Path;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::binary;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

async fn foreshadow(arguments: &[&str]) -> anyhow::Result<std::process::Output> {
    Ok(Command::new(binary("foreshadow")?).args(arguments).output().await?)
}

/// Speaks HTTP, and is no aggregator.
async fn stranger() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 4_096]).await);
            drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await);
        }
    });
    Ok(url)
}

#[tokio::test]
async fn bash_completes_commands_and_options_of_both_programs() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    for (program, words, found) in [
        ("foreshadow", "foreshadow imp", "import"),
        ("foreshadow", "foreshadow import prometheus --ins", "--instances-query"),
        ("foreshadow-agent", "foreshadow-agent --join", "--join-token-file"),
    ] {
        let made = foreshadow(&["completions", "bash", "--of", program]).await?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let script = directory.path().join(program);
        std::fs::write(&script, &made.stdout)?;
        let last = words.split(' ').count() - 1;
        let (word, before) = words
            .rsplit_once(' ')
            .map(|(rest, word)| (word, rest.rsplit(' ').next().unwrap_or("")))
            .context("words")?;
        let function = program.replace('-', "__");
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; COMP_LINE='{words}'; _{function} {program} '{word}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        let said = Command::new("bash").args(["--norc", "-c", &ask]).output().await?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        ensure!(
            text.split_whitespace().any(|word| word == found),
            "{words}: {text} {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let made = foreshadow(&["completions", shell]).await?;
        ensure!(made.status.success() && String::from_utf8_lossy(&made.stdout).contains("prometheus"), "{shell}");
    }
    Ok(())
}

fn pages(directory: &Path) -> anyhow::Result<Vec<String>> {
    let names = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[tokio::test]
async fn every_command_has_a_page_that_man_shows_without_complaint() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("man");
    let made = foreshadow(&["man", "--out", &out.display().to_string()]).await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pages = pages(&out)?;
    for name in ["foreshadow.1", "foreshadow-import-prometheus.1", "foreshadow-pause.1", "foreshadow-agent.1"] {
        ensure!(pages.iter().any(|page| page == name), "{name} in {pages:?}");
    }
    for page in &pages {
        let mut command = Command::new("man");
        command
            .args(["--warnings", "-E", "UTF-8", "-l"])
            .arg(out.join(page))
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8");
        let shown = command.output().await.context("man (Debian package man-db)")?;
        let complaints = String::from_utf8_lossy(&shown.stderr).into_owned();
        ensure!(shown.status.success() && complaints.trim().is_empty(), "{page}: {complaints}");
        // Lines are filled out with blanks.
        let shown = String::from_utf8_lossy(&shown.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        let whole = ["foreshadow.1", "foreshadow-agent.1"].contains(&page.as_str());
        let program = if page.starts_with("foreshadow-agent.") || page.starts_with("foreshadow-agent-") {
            "foreshadow-agent"
        } else {
            "foreshadow"
        };
        let wanted = match whole {
            true => "Exit codes: 0 done; 1 not done, refused, or found not to be whole".to_owned(),
            false => format!("Exit codes: 0 done, 1 not done, 64 wrong use; {program}(1) says more."),
        };
        ensure!(shown.matches("Exit codes:").count() == 1 && shown.contains(&wanted), "{page}: {shown}");
    }
    Ok(())
}

#[tokio::test]
async fn help_of_every_depth_says_how_it_ends() -> anyhow::Result<()> {
    for arguments in
        [&["--help"][..], &["journal", "--help"], &["import", "csv", "--help"], &["help", "store", "check"]]
    {
        let help = foreshadow(arguments).await?;
        let said = String::from_utf8_lossy(&help.stdout).into_owned();
        ensure!(help.status.success() && said.contains("Exit codes: 0 done"), "{arguments:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn exit_codes_are_what_the_pages_say() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let wrong = directory.path().join("wrong.toml");
    std::fs::write(&wrong, "[listen]\nadress = 1\n")?;
    let wrong = wrong.display().to_string();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).map(|()| path.display().to_string())
    };
    let empty = file("empty.csv", "")?;
    let rows: String = (0..100).map(|step| format!("{},{}\n", 1_790_000_000 + 300 * step, 500 + step)).collect();
    let short = file("short.csv", &format!("timestamp,value\n{rows}"))?;
    let elsewhere = stranger().await?;
    for (arguments, code) in [
        (vec!["--version"], 0),
        (vec!["check-config", &wrong], 64),
        (vec!["no-such-command"], 64),
        (vec!["import", "prometheus"], 64),
        (vec!["import", "csv", "/nowhere.csv", "--group", "web"], 1),
        (vec!["groups-that-are-not", "--json"], 64),
        (vec!["journal", "--url", "http://127.0.0.1:1"], 1),
        // What is wrong as it is typed is found out before anybody is asked.
        (vec!["journal", "--url", "127.0.0.1:7070"], 64),
        (vec!["journal", "--token-file", "/nope"], 64),
        (vec!["journal", "--ca", "/nope"], 64),
        (vec!["mode", "web", "scaleout", "--reason", "r"], 64),
        (vec!["explain", "web", "--at", "yesterday"], 64),
        (vec!["events", "--from", "tomorrow"], 64),
        (
            vec![
                "events",
                "add",
                "--every-group",
                "--name",
                "n",
                "--starts",
                "tomorrow",
                "--for",
                "1h",
                "--factor",
                "2",
                "--reason",
                "r",
            ],
            64,
        ),
        (vec!["below-last-week", "web", "--until", "soon", "--reason", "r"], 64),
        (
            vec![
                "import",
                "prometheus",
                "--server",
                "http://127.0.0.1:1",
                "--query",
                "q",
                "--group",
                "web",
                "--since",
                "then",
            ],
            64,
        ),
        (vec!["tokens", "create", "--name", "n", "--role", "viewer", "--expires", "0"], 64),
        (vec!["tokens", "join", "--name", "n", "--uses", "0"], 64),
        (vec!["backtest", "--history", "/nowhere.csv", "--targets", "200"], 64),
        (vec!["backtest", "--history", "/nowhere.csv"], 1),
        (vec!["serve", "--listen", "localhost:7071"], 64),
        (vec!["store", "check", "--directory", "/nope"], 1),
    ] {
        let output = foreshadow(&arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{arguments:?}: {:?} {said}", output.status);
        ensure!(code == 0 || !said.trim().is_empty(), "{arguments:?} fails without a word");
    }
    // What to do next is said as well.
    for (arguments, next) in [
        (vec!["check-config", &wrong], "did you mean \"address\"?"),
        (vec!["journal", "--url", "http://127.0.0.1:1"], "does the aggregator run?"),
        (vec!["journal", "--url", "http://127.0.0.1:1"], "FORESHADOW_URL says where"),
        (vec!["journal", "--url", &elsewhere], "answers 404 Not Found and is no aggregator"),
        (vec!["backtest", "--history", &empty], "a first line timestamp,value"),
        (vec!["backtest", "--history", &short, "--without-models"], "0.3 days of history"),
        (vec!["journal", "--url", "127.0.0.1:7070"], "must be http://HOST:PORT"),
        (vec!["store", "check", "--directory", "/nope"], "--directory says where the aggregator keeps its data"),
        (vec!["explain", "web", "--at", "yesterday"], "RFC 3339"),
        (vec!["mode", "web", "scaleout", "--reason", "r"], "'scale-out'"),
        (vec!["import", "csv", "/nowhere.csv", "--group", "web"], "name a file of timestamp,value"),
        (vec!["backtest", "--history", "/nowhere.csv"], "name a file of timestamp,value"),
        (vec!["no-such-command"], "--help"),
    ] {
        let said = String::from_utf8_lossy(&foreshadow(&arguments).await?.stderr).into_owned();
        ensure!(said.contains(next), "{arguments:?}: {said}");
    }
    Ok(())
}
