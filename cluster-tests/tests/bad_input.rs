//! What is wrong is named: configuration keys, ports, data folders, damaged logs. And what is shipped is as promised.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use cluster_tests::harness::{
    Connecting, DevCluster, Process, Temporary, Tool, free_base, http_get, mainstay, tell,
};

/// Payload of the records that fill the log; easy to find in its files.
const MARK: &str = "a-payload-that-is-easy-to-find";

fn run(arguments: &[&str]) -> Output {
    Command::new(mainstay())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat())
        .into_owned()
}

#[test]
fn an_unknown_configuration_key_is_named() {
    let folder = Temporary::new("key");
    let file = folder.path().join("mainstay.toml");
    fs::write(&file, "[node]\nname = \"n0\"\ndata = \"d\"\nshrads = 2\n").expect("writable");
    for command in [vec!["config", "check"], vec!["serve", "--config"]] {
        let arguments = [command, vec![file.to_str().expect("a plain path")]].concat();
        let output = run(&arguments);
        assert!(!output.status.success());
        assert!(
            text(&output).contains("shrads"),
            "{arguments:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn a_port_in_use_is_named() {
    tell(Duration::from_secs(60), async {
        let folder = Temporary::new("port");
        let base = free_base(1);
        for door in [0, 1, 3, 4] {
            let taken = TcpListener::bind(("127.0.0.1", base + door)).expect("it was free");
            let mut command = Command::new(mainstay());
            command
                .args(["dev", "--port-base", &base.to_string(), "--data"])
                .arg(folder.path().join(door.to_string()));
            let log = folder.path().join(format!("{door}.log"));
            let mut process = Process::start(&mut command, &log);
            let ended = process.ended(Duration::from_secs(30)).await;
            assert_ne!(ended.code, Some(0));
            let named = format!(":{}", base + door);
            assert!(
                process.output().contains(&named),
                "door {door}: {}",
                process.output()
            );
            drop(taken);
        }
    });
}

#[test]
fn the_second_process_on_a_data_folder_is_told_who_holds_it() {
    tell(Duration::from_secs(60), async {
        let cluster = DevCluster::start("folder", 1).await;
        let data = cluster.data();
        for more in [vec![], vec!["--node", "0"]] {
            let arguments = [
                vec!["dev", "--data", data.to_str().expect("a plain path")],
                more,
            ]
            .concat();
            let output = run(&arguments);
            assert!(!output.status.success(), "{arguments:?}");
            let holder = format!("process {}", cluster.pid(0));
            assert!(
                text(&output).contains(&holder),
                "{arguments:?}: {}",
                text(&output)
            );
        }
        assert!(cluster.is_ready(0).await, "the first goes on");
    });
}

/// The files that hold the log of node 0, in their order.
fn segments(data: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data.join("n0")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if fs::read(entry.path())
                .is_ok_and(|bytes| position(&bytes, MARK.as_bytes()).is_some())
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A stopped node with some permanent values in its log.
async fn stopped_node_with_a_log(story: &str) -> (DevCluster, Vec<PathBuf>) {
    let mut cluster = DevCluster::start(story, 1).await;
    let file = cluster.file().clone();
    let device = Connecting::new(&cluster.mqtt(0), &file.device.login(), "d")
        .open_within(Duration::from_secs(10))
        .await;
    for number in 0..50 {
        let topic = file.device_topic(&format!("state/t{number}"));
        let payload = format!("{MARK}-{number:02}");
        device
            .publish1(&topic, payload.as_bytes(), false)
            .await
            .expect("sent")
            .await
            .expect("a PUBACK");
    }
    cluster.kill_all().await;
    let files = segments(&cluster.data());
    assert!(!files.is_empty(), "the log holds what was published");
    (cluster, files)
}

#[test]
fn a_torn_tail_is_cut_and_logged_and_nothing_acknowledged_is_lost() {
    tell(Duration::from_secs(90), async {
        let (mut cluster, files) = stopped_node_with_a_log("torn").await;
        // A frame that a power cut left half written: a header that promises more than follows.
        let path = files.last().expect("there is one");
        let mut bytes = fs::read(path).expect("readable");
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("it is not empty")
            + 1;
        let at = end.next_multiple_of(8);
        let torn: Vec<u8> = [200_u32.to_le_bytes(), 7_u32.to_le_bytes()]
            .concat()
            .into_iter()
            .chain([9; 40])
            .collect();
        bytes.resize(bytes.len().max(at + torn.len()), 0);
        bytes[at..at + torn.len()].copy_from_slice(&torn);
        fs::write(path, bytes).expect("writable");
        cluster.start_again().await;
        let logs = cluster.logs();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a plain name");
        let cut = logs
            .lines()
            .find(|line| line.contains("torn") && line.contains(name));
        println!(
            "{}",
            cut.unwrap_or_else(|| panic!("the cut is logged with the file: {logs}"))
        );
        let file = cluster.file().clone();
        let reader = Connecting::new(&cluster.mqtt(0), &file.registry.login(), "r");
        let reader = reader.open_within(Duration::from_secs(10)).await;
        reader.subscribe_all(&[&file.device_topic("state/#")]).await;
        for _ in 0..50 {
            reader
                .next_within(Duration::from_secs(5))
                .await
                .expect("every acknowledged value is there");
        }
    });
}

#[test]
fn a_flipped_byte_in_an_old_record_refuses_to_start_and_names_file_and_offset() {
    tell(Duration::from_secs(90), async {
        let (cluster, files) = stopped_node_with_a_log("flipped").await;
        let path = &files[0];
        let mut bytes = fs::read(path).expect("readable");
        let at = position(&bytes, format!("{MARK}-07").as_bytes()).expect("an old record");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("writable");
        let data = cluster.data();
        let output = run(&[
            "dev",
            "--node",
            "0",
            "--data",
            data.to_str().expect("a plain path"),
        ]);
        println!("{}", text(&output).lines().last().unwrap_or_default());
        assert!(!output.status.success());
        let text = text(&output);
        assert!(
            text.contains(path.to_str().expect("a plain path")),
            "names {}: {text}",
            path.display()
        );
        let offset = text.split("offset ").nth(1).and_then(|rest| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse::<usize>()
                .ok()
        });
        assert!(
            offset.is_some_and(|offset| offset <= at && at - offset < 4096),
            "names the offset near {at}: {text}"
        );
    });
}

#[test]
fn promtool_finds_the_metrics_clean() {
    tell(Duration::from_secs(60), async {
        let Some(promtool) = Tool::find("promtool") else {
            return;
        };
        let cluster = DevCluster::start("promtool", 1).await;
        let file = cluster.file().clone();
        let device = Connecting::new(&cluster.mqtt(0), &file.device.login(), "d");
        let device = device.open_within(Duration::from_secs(10)).await;
        let topic = file.device_topic("state/a");
        device
            .publish1(&topic, b"1", false)
            .await
            .expect("sent")
            .await
            .expect("a PUBACK");
        let metrics = http_get(&file.nodes[0].admin, "/metrics")
            .await
            .expect("the admin door answers");
        assert_eq!(metrics.status, 200);
        let path = cluster.folder().join("metrics");
        fs::write(&path, &metrics.body).expect("writable");
        let input = fs::File::open(&path).expect("readable");
        let output = promtool
            .command()
            .args(["check", "metrics"])
            .stdin(input)
            .output()
            .expect("promtool runs");
        assert!(
            output.status.success() && text(&output).is_empty(),
            "{}",
            text(&output)
        );
        println!("{} lines of metrics, clean", metrics.body.lines().count());
    });
}

/// Whether an ELF file asks for an interpreter: segment type 3, PT_INTERP.
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        elf[at..at + bytes]
            .iter()
            .rev()
            .fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|entry| number(table + entry * size, 4) == 3)
}

#[test]
fn the_binary_is_static_where_it_was_built_so() {
    let path = mainstay();
    let elf = fs::read(&path).expect("readable");
    assert_eq!(&elf[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    let shell = fs::read("/bin/sh").expect("there is a shell");
    assert!(
        has_interpreter(&shell),
        "the look finds the interpreter of a dynamic program"
    );
    // Only the part 'build' of cluster-tests/run links it so; it names its binary.
    if path
        .parent()
        .is_some_and(|folder| folder.ends_with("release"))
    {
        assert!(!has_interpreter(&elf), "{} is not static", path.display());
    } else {
        eprintln!("SKIPPED: {} is no release build", path.display());
    }
}
