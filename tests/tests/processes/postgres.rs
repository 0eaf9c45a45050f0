//! State speaks SQL that PostgreSQL speaks as well: every migration runs there, every statement is
//! prepared there, and a row goes through both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::process::{Process, eventually, free_port};
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _};
use tokio::process::Command;

/// The server's programs as Debian installs them, the newest version.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed: bash tests/run")?;
    let mut found: Vec<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect();
    found.sort();
    found.pop().context("PostgreSQL is not installed: bash tests/run")
}

/// PostgreSQL refuses to run as root: then it runs as the user its package made.
fn as_its_user(program: &Path) -> Command {
    if rustix::process::getuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        return command;
    }
    Command::new(program)
}

#[tokio::test]
async fn migrations_and_statements_run_on_postgresql() -> anyhow::Result<()> {
    let programs = programs()?;
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("postgres");
    std::fs::create_dir(&data)?;
    if rustix::process::getuid().is_root() {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
        let owned = Command::new("chown").arg("postgres").arg(&data).status().await?;
        ensure!(owned.success(), "the directory cannot be given to the user postgres");
    }
    let mut init = as_its_user(&programs.join("initdb"));
    init.arg("-D").arg(&data).args(["-A", "trust", "-U", "foreshadow", "--no-sync"]).current_dir("/");
    let output = init.output().await?;
    ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    let port = free_port()?;
    let mut command = as_its_user(&programs.join("postgres"));
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.args(["-c", "fsync=off", "-k"]).arg(&data).current_dir("/");
    let _server = Process::start("postgres", command, directory.path())?;
    let url = format!("postgres://foreshadow@127.0.0.1:{port}/postgres");
    let mut connection = eventually("PostgreSQL answers", Duration::from_secs(60), async || {
        Ok(Some(PgConnection::connect(&url).await?))
    })
    .await?;

    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../aggregator/migrations");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(migrations)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    ensure!(!files.is_empty(), "no migrations");
    for file in &files {
        let sql = std::fs::read_to_string(file)?;
        connection
            .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
            .await
            .with_context(|| file.display().to_string())?;
    }
    let mut prepared = 0;
    for (name, text) in foreshadow::sql::statements() {
        connection.prepare(text.into_sql_str()).await.with_context(|| format!("{name}: {text}"))?;
        prepared += 1;
    }
    println!("{} migrations, {prepared} statements prepared", files.len());
    ensure!(prepared > 30, "{prepared} statements only");

    // One row through an upsert that both engines must read the same way.
    let statement = |wanted: &str| {
        foreshadow::sql::statements().find(|(name, _)| *name == wanted).map(|(_, text)| text).context("a statement")
    };
    for body in ["{\"default_seconds\": 60}", "{\"default_seconds\": 90}"] {
        sqlx::query(statement("CONFIG_WRITE")?).bind(body).execute(&mut connection).await?;
    }
    let row = sqlx::query(statement("CONFIG_READ")?).fetch_one(&mut connection).await?;
    assert_eq!(row.try_get::<String, _>(0)?, "{\"default_seconds\": 90}");
    Ok(())
}
