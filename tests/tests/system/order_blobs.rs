//! Bytes beside the order book: blobs, services with bytes, the image example; and contracts from files.

use std::{collections::BTreeSet, fs, path::Path};

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    process::root,
    wait::until,
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    operations::cli,
    orders::{order, put, service},
    plan,
};

fn blobs_url(cluster: &Cluster) -> String {
    format!("{}/api/v1/blobs", cluster.rest.url)
}

/// Puts a blob; status and what it is answered with.
async fn put_blob(cluster: &Cluster, bytes: Vec<u8>, content_type: &str) -> (StatusCode, Value) {
    let request = reqwest::Client::new().put(blobs_url(cluster)).body(bytes);
    let request = request.header(header::CONTENT_TYPE, content_type);
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// A blob that a result names.
async fn blob_of(cluster: &Cluster, result: &Value) -> Vec<u8> {
    let name = result["blob"]
        .as_str()
        .unwrap_or_else(|| panic!("{result}"));
    let url = format!("{}/{name}", blobs_url(cluster));
    let response = reqwest::get(url).await.unwrap().error_for_status().unwrap();
    let bytes = response.bytes().await.unwrap();
    assert_eq!(result["bytes"], bytes.len());
    bytes.to_vec()
}

/// A picture: its width, its height, and its pixels without opacity.
fn picture(file: &[u8]) -> (u32, u32, Vec<[u8; 3]>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file))
        .read_info()
        .unwrap();
    let mut raw = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut raw).unwrap();
    assert_eq!(frame.color_type, png::ColorType::Rgb);
    let pixels = raw.chunks_exact(3).map(|it| [it[0], it[1], it[2]]);
    (frame.width, frame.height, pixels.collect())
}

/// Whether there is the plate of a mark in the lower right corner: black at its edge, with white signs.
fn is_marked((width, height, pixels): &(u32, u32, Vec<[u8; 3]>)) -> bool {
    let at = |x: u32, y: u32| pixels[(y * width + x) as usize];
    let last = (0..10).all(|left| at(width - 1 - left, height - 1) == [0; 3]);
    let corner =
        (height - height / 10..*height).flat_map(|y| (width / 2..*width).map(move |x| (x, y)));
    last && corner.into_iter().any(|(x, y)| at(x, y) == [255; 3])
}

/// Kills ε-CON and starts it again.
async fn restart(cluster: &mut Cluster) {
    cluster.con.kill();
    cluster.con.restart().unwrap();
    let answers = until("ε-CON is there again", async || {
        let answer = cluster.rest.get("/api/v1/clients").await;
        Ok(answer.is_ok().then_some(()))
    });
    let answered = answers.await;
    assert!(answered.is_ok(), "{}", cluster.con.log());
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    match path.extension().is_some_and(|it| it == "yaml") {
        true => serde_saphyr::from_str(&text).unwrap(),
        false => serde_json::from_str(&text).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_example_makes_three_sizes_with_a_mark() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    let example = root().join("examples/images");
    let mut services = BTreeSet::new();
    for entry in fs::read_dir(example.join("services")).unwrap() {
        let path = entry.unwrap().path();
        let spec = read(&path);
        let class = spec["class_specification"]["id"].as_str().unwrap();
        cluster.rest.push(class).await.unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        put(&cluster, &format!("services/{name}"), &spec).await;
        services.insert(name);
    }
    put(
        &cluster,
        "clients/photos",
        &read(&example.join("photos.yaml")),
    )
    .await;
    let image = fs::read(example.join("house.png")).unwrap();
    let (width, ..) = picture(&image);
    let (status, blob) = put_blob(&cluster, image, "image/png").await;
    assert_eq!(status, StatusCode::CREATED);

    let document = json!({"client": "photos", "input": {"blob": blob["blob"]}});
    let (status, end) = order(&cluster, &document).await;
    assert_eq!(
        (status, &end["state"]),
        (StatusCode::OK, &json!("completed")),
        "{end}"
    );
    let results = end["result"].as_object().unwrap();
    assert_eq!(results.len(), 3);
    // As after a power cut: what an order has brought is there again.
    restart(&mut cluster).await;
    for (key, size) in [
        ("watermark", 120_u32),
        ("watermark#2", 320),
        ("watermark#3", 560),
    ] {
        let result = &results[key];
        assert_eq!(result["content_type"], "image/png");
        let made = picture(&blob_of(&cluster, result).await);
        assert_eq!(
            (made.0, made.1),
            (size, (420 * size).div_ceil(width)),
            "{key}"
        );
        assert!(is_marked(&made), "{key} has no mark");
    }
    let view = format!("/api/v1/orders/{}", end["id"].as_str().unwrap());
    let view = cluster.rest.get(&view).await.unwrap();
    let trace = view["trace"].as_array().unwrap();
    let unmarked = &trace.iter().find(|step| step["task"] == "small").unwrap()["result"];
    assert!(!is_marked(&picture(&blob_of(&cluster, unmarked).await)));
    assert_eq!(services.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_go_in_and_out_and_orders_name_only_those_that_are_there() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let (status, view) = put_blob(&cluster, b"some text".to_vec(), "text/plain").await;
    assert_eq!(status, StatusCode::CREATED);
    let again = put_blob(&cluster, b"some text".to_vec(), "text/plain").await;
    assert_eq!(again, (StatusCode::OK, view.clone()));
    assert_eq!(blob_of(&cluster, &view).await, b"some text");
    let http = reqwest::Client::new();
    let url = |name: &str| format!("{}/{name}", blobs_url(&cluster));
    let head = http
        .head(url(view["blob"].as_str().unwrap()))
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()[header::CONTENT_TYPE], "text/plain");
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "9");
    assert!(head.headers().get(header::CONTENT_DISPOSITION).is_none());
    let (_, page) = put_blob(&cluster, b"<script>".to_vec(), "text/html").await;
    let page = http.get(url(page["blob"].as_str().unwrap()));
    let page = page.send().await.unwrap();
    assert_eq!(page.headers()[header::CONTENT_DISPOSITION], "attachment");
    assert_eq!(page.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let absent = format!("sha256:{}", "0".repeat(64));
    for (name, status) in [
        (absent.as_str(), 404),
        ("sha256:12", 400),
        ("..%2F..%2Flog", 400),
    ] {
        let response = http.get(url(name)).send().await.unwrap();
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status, "{name}: {problem}");
    }
    for (input, pointer) in [
        (json!({"blob": absent}), "/input"),
        (json!({"blob": "sha256:12"}), "/input"),
        (json!({"images": [{"blob": absent}]}), "/input/images/0"),
    ] {
        let (status, problem) = order(&cluster, &json!({"input": input, "tasks": ["A"]})).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["pointer"], pointer);
    }
    let address = cluster.rest.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "PUT /api/v1/blobs HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
        (64 << 20) + 1
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    let left = fs::read_dir(cluster.folder().join("con/orders/blobs")).unwrap();
    assert_eq!(left.count(), 4, "two blobs and their content types");
}

/// An endpoint that answers each request with its body backwards, and with the content type that it got.
async fn backwards(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = Vec::new();
            let answer = loop {
                if stream.read_buf(&mut request).await? == 0 {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let header = |name: &str| {
                    let mut lines = head.lines();
                    let line = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
                    line.unwrap_or_default().to_owned()
                };
                if header("content-length") != body.len().to_string() {
                    continue;
                }
                let answer: String = body.chars().rev().collect();
                break format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: x/{}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                    header("content-type").replace('/', "-"),
                    answer.len()
                );
            };
            stream.write_all(answer.as_bytes()).await
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_bytes_gets_and_returns_them_with_their_content_type() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(backwards(listener));
    put(
        &cluster,
        "services/R",
        &json!({"url": url, "payload": "bytes"}),
    )
    .await;
    let (_, blob) = put_blob(&cluster, b"abc".to_vec(), "text/plain").await;
    let document = json!({"input": {"blob": blob["blob"]}, "tasks": ["R", "R"]});
    let (_, end) = order(&cluster, &document).await;
    assert_eq!(end["state"], "completed", "{end}");
    assert_eq!(blob_of(&cluster, &end["result"]).await, b"abc");
    let view = format!("/api/v1/orders/{}", end["id"].as_str().unwrap());
    let view = cluster.rest.get(&view).await.unwrap();
    let first = &view["trace"][0]["result"];
    assert_eq!(
        (&first["bytes"], &first["content_type"]),
        (&json!(3), &json!("x/text-plain"))
    );
    assert_eq!(blob_of(&cluster, first).await, b"cba");
    let (_, end) = order(&cluster, &json!({"input": {"a": 1}, "tasks": ["R"]})).await;
    assert_eq!(blob_of(&cluster, &end["result"]).await, b"}1:\"a\"{");
    assert_eq!(end["result"]["content_type"], "x/application-json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_from_the_command_line_as_what_an_order_is_about() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(backwards(listener));
    let spec = json!({"url": url, "payload": "bytes"});
    put(&cluster, "services/R", &spec).await;
    let file = cluster.folder().join("note.txt");
    let file = file.display().to_string();
    let command = ["order", "submit", "--task", "R", "--wait", "20s", "--blob"];
    for (content, more, content_type) in [
        ("abc", &[][..], "x/text-plain"),
        ("abd", &["--content-type", "image/png"], "x/image-png"),
    ] {
        fs::write(&file, content).unwrap();
        let arguments = [&command[..], &[&file], more].concat();
        let shown = cli(&cluster, &arguments).await.unwrap();
        let result: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(result["content_type"], content_type);
        let backwards: String = content.chars().rev().collect();
        assert_eq!(blob_of(&cluster, &result).await, backwards.as_bytes());
    }
    let missing = [&command[..], &["/no/such/file"]].concat();
    let refused = cli(&cluster, &missing).await.unwrap_err();
    assert!(refused.contains("/no/such/file"), "{refused}");
    let both = [&command[..], &[&file, "--input", "5"]].concat();
    let refused = cli(&cluster, &both).await.unwrap_err();
    assert!(refused.contains("cannot be used with"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_from_a_file_holds_and_is_changed_only_there() {
    let mut cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    let contract = json!({"tasks": ["Z"]});
    put(&cluster, "clients/calculator", &contract).await;
    put(&cluster, "clients/own", &contract).await;
    let file = cluster.folder().join("controller.toml");
    let pattern = root().join("configs/contracts/*.yaml");
    let more = format!(
        "\n[orders]\ncontracts = {}\n",
        Value::from(pattern.display().to_string())
    );
    fs::write(&file, fs::read_to_string(&file).unwrap() + &more).unwrap();
    restart(&mut cluster).await;
    let client = async |name: &str| cluster.rest.get(&format!("/api/v1/clients/{name}")).await;
    let of_file = client("calculator").await.unwrap();
    assert_eq!(of_file["contract"]["tasks"], json!(["A", "B"]));
    assert!(
        of_file["file"]
            .as_str()
            .unwrap()
            .ends_with("configs/contracts/clients.yaml")
    );
    let own = client("own").await.unwrap();
    assert_eq!(
        (&own["contract"]["tasks"], own.get("file")),
        (&json!(["Z"]), None)
    );
    let path = "/api/v1/clients/calculator";
    for (method, body) in [
        (Method::PUT, contract.to_string()),
        (Method::DELETE, String::new()),
    ] {
        let (status, problem) = cluster.rest.send(method, path, body).await.unwrap();
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(
            problem["detail"].as_str().unwrap().contains("clients.yaml"),
            "{problem}"
        );
    }
    put(&cluster, "clients/own", &json!({"tasks": ["A"]})).await;
    // The order book knows it as well: its tasks are those of the file, for which there are no services here.
    let (status, problem) = order(&cluster, &json!({"client": "calculator", "input": 1})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        problem.to_string().contains("there is no service `B`"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_pass_through_a_function_and_back() {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    cluster.rest.push("echo").await.unwrap();
    let spec = service("echo", &json!({"payload": "bytes", "timeout": "20s"}));
    put(&cluster, "services/E", &spec).await;
    let bytes: Vec<u8> = (0..10_u32 << 20).map(|at| (at % 251) as u8).collect();
    let (_, blob) = put_blob(&cluster, bytes, "x/numbers").await;
    let document = json!({"input": {"blob": blob["blob"]}, "tasks": ["E", "E"]});
    let (_, end) = order(&cluster, &document).await;
    assert_eq!(end["state"], "completed", "{end}");
    // What is the same has the same name, and keeps its content type.
    assert_eq!(end["result"], blob);
}
