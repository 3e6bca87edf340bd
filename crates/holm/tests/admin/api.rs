//! The admin API does what its description says, and no more than it may.

use crate::running::{Answer, Running};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};

/// The description, and what of it has been tried.
struct Described<'a> {
    server: &'a Running,
    description: Value,
    tried: BTreeSet<(String, String, String)>,
}

impl<'a> Described<'a> {
    fn new(server: &'a Running) -> Self {
        let description = server.ask("GET", "/openapi.json", None).json();
        Self { server, description, tried: BTreeSet::new() }
    }

    /// Asks, and holds what is answered against the description.
    fn ask(
        &mut self,
        method: &str,
        path: &str,
        uri: &str,
        body: Option<Value>,
        status: u16,
    ) -> Answer {
        let body = body.map(|body| body.to_string());
        let answer = self.server.ask(method, uri, body.as_deref());
        assert_eq!(
            answer.status,
            status,
            "{method} {uri}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let (described, response) = self.response(method, path, status);
        self.tried.insert((path.into(), method.into(), described));
        let Some(content) = response["content"].as_object() else {
            assert!(answer.body.is_empty(), "{method} {uri} has a body that is not described");
            return answer;
        };
        let kind = answer.header("content-type").expect("a content type");
        let content = content.get(kind).unwrap_or_else(|| panic!("{method} {uri}: {kind}"));
        if kind == "application/json" {
            self.check(&content["schema"], &answer.json(), &format!("{method} {uri}"));
        }
        answer
    }

    /// What is described for a status, itself or as one of many.
    fn response(&self, method: &str, path: &str, status: u16) -> (String, Value) {
        let responses = &self.description["paths"][path][method.to_lowercase()]["responses"];
        for described in [status.to_string(), format!("{}XX", status / 100)] {
            if let Some(response) = responses.get(&described) {
                return (described, response.clone());
            }
        }
        panic!("{method} {path} is not described to answer {status}");
    }

    fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors: Vec<String> =
            self.validator(schema).iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{what}: {errors:?}: {value}");
    }

    /// Of a schema, in which nothing may be that is not described.
    fn validator(&self, schema: &Value) -> Validator {
        let mut schema = json!({ "allOf": [schema], "components": self.description["components"] });
        close(&mut schema);
        jsonschema::draft202012::new(&schema).expect("a schema")
    }
}

/// Forbids what is not described, wherever a schema is used whole and not as a part of another.
fn close(schema: &mut Value) {
    let mut parts = BTreeSet::new();
    collect_parts(schema, &mut parts);
    let schemas = schema.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for (name, schema) in schemas.expect("schemas") {
        if !parts.contains(&format!("#/components/schemas/{name}"))
            && (schema.get("properties").is_some() || schema.get("allOf").is_some())
        {
            schema["unevaluatedProperties"] = false.into();
        }
    }
}

/// The schemas that others contain as parts.
fn collect_parts(schema: &Value, parts: &mut BTreeSet<String>) {
    if let Some(components) = schema.pointer("/components/schemas").and_then(Value::as_object) {
        for all_of in components.values().filter_map(|schema| schema["allOf"].as_array()).flatten()
        {
            parts.extend(all_of["$ref"].as_str().map(str::to_owned));
        }
    }
}

fn blue(folder: &str) -> Value {
    json!({
        "name": "blue",
        "export": [{ "path": "/", "dir": format!("{folder}/blue"), "clients": ["127.0.0.0/8"] }],
        "listen": [{ "addr": "127.0.0.1:0" }],
        "limits": { "connections": 100 },
    })
}

#[test]
fn every_route_answers_as_it_is_described() {
    let server = Running::start("");
    let folder = server.folder().display().to_string();
    let mut api = Described::new(&server);

    let all = "/namespaces";
    api.ask("GET", all, "/namespaces", None, 200);
    let made = api.ask("POST", all, "/namespaces", Some(blue(&folder)), 201).json();
    assert_eq!((&made["name"], &made["state"]), (&json!("blue"), &json!("live")));
    api.ask("POST", all, "/namespaces", Some(blue(&folder)), 409);
    api.ask("POST", all, "/namespaces", Some(json!({ "name": "No" })), 400);
    api.ask("POST", all, "/namespaces", Some(json!({ "name": "red", "color": 1 })), 400);
    let listed = api.ask("GET", all, "/namespaces", None, 200).json();
    assert!(listed.as_array().expect("an array").iter().any(|ns| ns["name"] == "blue"));

    let one = "/namespaces/{ns}";
    let id = &made["id"];
    api.ask("GET", one, &format!("/namespaces/blue@{id}"), None, 200);
    api.ask("GET", one, "/namespaces/none", None, 404);

    let exports = "/namespaces/{ns}/exports";
    let export = json!({ "path": "/more", "dir": format!("{folder}/green"), "read-only": true });
    api.ask("POST", exports, "/namespaces/blue/exports", Some(export.clone()), 201);
    api.ask("POST", exports, "/namespaces/blue/exports", Some(export.clone()), 409);
    api.ask("POST", exports, "/namespaces/none/exports", Some(export), 404);
    let missing = json!({ "path": "/x", "dir": format!("{folder}/missing") });
    let missing = api.ask("POST", exports, "/namespaces/blue/exports", Some(missing), 400).json();
    assert!(missing["message"].as_str().expect("text").contains("/missing"), "{missing}");
    let listed = api.ask("GET", exports, "/namespaces/blue/exports", None, 200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    api.ask("GET", exports, "/namespaces/none/exports", None, 404);
    api.ask("DELETE", exports, "/namespaces/blue/exports?path=%2Fmore&wait=20", None, 204);
    api.ask("DELETE", exports, "/namespaces/blue/exports?path=%2Fmore", None, 404);
    api.ask("DELETE", exports, "/namespaces/blue/exports?name=%2Fmore", None, 400);

    let listeners = "/namespaces/{ns}/listeners";
    let listener = json!({ "addr": "127.0.0.1:0", "udp": false });
    let made = api.ask("POST", listeners, "/namespaces/blue/listeners", Some(listener), 201).json();
    let local = made["local"].as_str().expect("an address");
    let same = Some(json!({ "addr": local }));
    api.ask("POST", listeners, "/namespaces/blue/listeners", same, 409);
    let listed = api.ask("GET", listeners, "/namespaces/blue/listeners", None, 200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    api.ask("GET", listeners, "/namespaces/none/listeners", None, 404);
    let which = format!("/namespaces/blue/listeners?addr={local}");
    api.ask("DELETE", listeners, &which, None, 204);
    api.ask("DELETE", listeners, &which, None, 404);
    api.ask("DELETE", listeners, "/namespaces/blue/listeners?addr=here", None, 400);

    let limits = "/namespaces/{ns}/limits";
    let spec = json!({ "connections": 7 });
    api.ask("PUT", limits, "/namespaces/blue/limits", Some(spec.clone()), 204);
    api.ask("PUT", limits, "/namespaces/none/limits", Some(spec), 404);
    let none = json!({ "requests-in-flight": 0 });
    api.ask("PUT", limits, "/namespaces/blue/limits", Some(none), 400);
    let ns = api.ask("GET", one, "/namespaces/blue", None, 200).json();
    assert_eq!(ns["limits"]["connections"], 7);

    let local = "/namespaces/{ns}/local";
    let patch = json!({ "add-users": [7, 0], "recall-time": 9 });
    let shown = api.ask("PATCH", local, "/namespaces/blue/local", Some(patch.clone()), 200).json();
    assert_eq!((&shown["users"], &shown["recall-time"]), (&json!([0, 7]), &json!(9)));
    api.ask("PATCH", local, "/namespaces/none/local", Some(patch), 404);
    let none = json!({ "recall-time": 0 });
    api.ask("PATCH", local, "/namespaces/blue/local", Some(none), 400);
    assert_eq!(api.ask("GET", local, "/namespaces/blue/local", None, 200).json(), shown);
    api.ask("GET", local, "/namespaces/none/local", None, 404);

    // The same by the number; of another namespace of that name, nothing.
    let own = format!("/namespaces/blue@{id}");
    let export = json!({ "path": "/third", "dir": format!("{folder}/green") });
    api.ask("POST", exports, &format!("{own}/exports"), Some(export), 201);
    api.ask("DELETE", exports, &format!("{own}/exports?path=%2Fthird&wait=20"), None, 204);
    let listener = Some(json!({ "addr": "127.0.0.1:0", "udp": false }));
    let made = api.ask("POST", listeners, &format!("{own}/listeners"), listener, 201).json();
    let local = made["local"].as_str().expect("an address");
    api.ask("DELETE", listeners, &format!("{own}/listeners?addr={local}"), None, 204);
    let spec = json!({ "connections": 8 });
    api.ask("PUT", limits, &format!("{own}/limits"), Some(spec.clone()), 204);
    api.ask("PUT", limits, &format!("{own}0/limits"), Some(spec), 404);
    let ns = api.ask("GET", one, "/namespaces/blue", None, 200).json();
    assert_eq!(ns["limits"]["connections"], 8);

    every_route_of_networks_answers(&mut api, &folder, id);

    let statistics = api.ask("GET", "/statistics", "/statistics", None, 200).json();
    assert!(
        statistics["namespaces"].as_array().expect("some").iter().any(|ns| ns["name"] == "blue")
    );
    let metrics = api.ask("GET", "/metrics", "/metrics", None, 200);
    assert!(String::from_utf8_lossy(&metrics.body).contains("holm_connections{ns=\"blue\""));
    api.ask("GET", "/openapi.json", "/openapi.json", None, 200);

    api.ask("DELETE", one, "/namespaces/blue?wait=soon", None, 400);
    api.ask("DELETE", one, "/namespaces/blue?wait=20", None, 204);
    api.ask("DELETE", one, "/namespaces/blue?wait=20", None, 404);
    api.tried.insert(("/events".into(), "GET".into(), "200".into()));
    every_event_is_as_described(&server, &api);

    // Nothing is described that was not tried. What only a broken machine answers can't be.
    for (path, methods) in api.description["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for status in operation["responses"].as_object().expect("responses").keys() {
                let tried = (path.clone(), method.to_uppercase(), status.clone());
                assert!(status == "5XX" || api.tried.contains(&tried), "{tried:?} was not tried");
            }
        }
    }
    server.end();
}

fn every_route_of_networks_answers(api: &mut Described<'_>, folder: &str, id: &Value) {
    let links = "/namespaces/{ns}/links";
    let own = "/namespaces/blue/links";
    let port = |name: &str| json!({ "name": name, "type": "stream", "path": format!("{folder}/{name}.sock") });
    let made = api.ask("POST", links, own, Some(port("p0")), 201).json();
    assert_eq!((&made["type"], &made["mtu"]), (&json!("stream"), &json!(1500)));
    api.ask("POST", links, own, Some(port("p0")), 409);
    let no_path = json!({ "name": "p1", "type": "stream" });
    let no_path = api.ask("POST", links, own, Some(no_path), 400).json();
    assert!(no_path["message"].as_str().expect("text").contains("needs path"), "{no_path}");
    let lagg = json!({
        "name": "lagg0", "type": "lagg", "proto": "lacp", "ports": ["p0"], "addr": ["10.0.0.1/24"],
        "lacp": { "fast": true }, "hash": ["l3", "l4"],
    });
    let lagg = api.ask("POST", links, &format!("/namespaces/blue@{id}/links"), Some(lagg), 201);
    assert_eq!(lagg.json()["lagg"]["ports"][0]["name"], "p0");
    let listed = api.ask("GET", links, own, None, 200).json();
    let names = listed.as_array().expect("links").iter().map(|link| link["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["lagg0", "lo", "p0"]);
    api.ask("GET", links, "/namespaces/none/links", None, 404);
    let mtu = json!({ "mtu": 9000, "lacp": { "active": false } });
    let set = api.ask("PATCH", links, &format!("{own}?name=lagg0"), Some(mtu), 200).json();
    assert_eq!((&set["mtu"], &set["lagg"]["lacp"]["active"]), (&json!(9000), &json!(false)));
    let few = json!({ "mtu": 5 });
    api.ask("PATCH", links, &format!("{own}?name=p0"), Some(few), 400);
    let media = json!({ "media": { "speed": 1000, "full-duplex": false } });
    let set = api.ask("PATCH", links, &format!("{own}?name=p0"), Some(media), 200).json();
    assert_eq!(
        (&set["media"]["speed"], &set["media"]["full-duplex"]),
        (&json!(1000), &json!(false))
    );
    a_capture_begins_as_described(api);
    an_end_of_a_pair_moves_as_described(api);

    let addresses = "/namespaces/{ns}/addresses";
    let own_addresses = "/namespaces/blue/addresses";
    let addr = json!({ "cidr": "fd00::1/64", "dev": "lagg0" });
    api.ask("POST", addresses, own_addresses, Some(addr.clone()), 201);
    api.ask("POST", addresses, own_addresses, Some(addr.clone()), 400);
    let listed = api.ask("GET", addresses, own_addresses, None, 200).json();
    assert!(listed.as_array().expect("addresses").contains(&addr), "{listed}");
    let automatic = |it: &Value| it["automatic"] == true && it["dev"] == "lagg0";
    assert!(listed.as_array().expect("addresses").iter().any(automatic), "{listed}");
    api.ask("GET", addresses, "/namespaces/none/addresses", None, 404);

    let routes = "/namespaces/{ns}/routes";
    let own_routes = "/namespaces/blue/routes";
    let route = json!({ "to": "default", "via": "10.0.0.254" });
    let made = api.ask("POST", routes, own_routes, Some(route.clone()), 201).json();
    assert_eq!(made["dev"], "lagg0");
    api.ask("POST", routes, own_routes, Some(route), 400);
    let listed = api.ask("GET", routes, own_routes, None, 200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    api.ask("GET", routes, "/namespaces/none/routes", None, 404);
    let which = format!("{own_routes}?to=default&via=10.0.0.254");
    api.ask("DELETE", routes, &which, None, 204);
    api.ask("DELETE", routes, &which, None, 404);

    let which = format!("{own_addresses}?cidr=fd00%3A%3A1%2F64&dev=lagg0");
    api.ask("DELETE", addresses, &which, None, 204);
    api.ask("DELETE", addresses, &which, None, 404);
    api.ask("DELETE", links, &format!("{own}?name=lagg0&wait=20"), None, 204);
    api.ask("DELETE", links, &format!("{own}?name=p0&wait=20"), None, 204);
    api.ask("DELETE", links, &format!("{own}?name=p0"), None, 404);
}

fn an_end_of_a_pair_moves_as_described(api: &mut Described<'_>) {
    let path = "/namespaces/{ns}/links/move";
    let pair = json!({ "name": "c0", "type": "pair", "peer": "c1" });
    api.ask("POST", "/namespaces/{ns}/links", "/namespaces/blue/links", Some(pair), 201);
    api.ask("POST", "/namespaces", "/namespaces", Some(json!({ "name": "far" })), 201);
    let moves = |name: &str| format!("/namespaces/blue/links/move?name={name}");
    let to = json!({ "to": "far", "name": "x0" });
    let moved = api.ask("POST", path, &moves("c1"), Some(to), 200).json();
    assert_eq!((&moved["name"], &moved["type"]), (&json!("x0"), &json!("pair")));
    api.ask("POST", path, &moves("p0"), Some(json!({ "to": "far" })), 400);
    api.ask("POST", path, &moves("c1"), Some(json!({ "to": "far" })), 404);
    let one = "/namespaces/{ns}";
    api.ask("DELETE", one, "/namespaces/far?wait=20", None, 204);
}

fn a_capture_begins_as_described(api: &mut Described<'_>) {
    let (path, own) = ("/namespaces/{ns}/links/capture", "/namespaces/blue/links/capture");
    api.ask("GET", path, &format!("{own}?name=none"), None, 404);
    api.ask("GET", path, &format!("{own}?name=p0&snap=many"), None, 400);
    let (status, response) = api.response("GET", path, 200);
    let kind = response["content"].as_object().and_then(|kinds| kinds.keys().next());
    let mut stream = api.server.connect();
    let request = format!("GET {own}?name=p0&snap=100 HTTP/1.1\r\nhost: holm\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = BufReader::new(stream);
    let head = answer.by_ref().lines().map(|line| line.expect("read"));
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    assert!(head.contains(&format!("content-type: {}", kind.expect("one"))), "{head:?}");
    // The length of the chunk, and the first block: a section of pcapng.
    answer.read_line(&mut String::new()).expect("read");
    let mut begin = [0; 4];
    answer.read_exact(&mut begin).expect("read");
    assert_eq!(begin, [0x0a, 0x0d, 0x0d, 0x0a]);
    api.tried.insert((path.into(), "GET".into(), status));
}

fn every_event_is_as_described(server: &Running, api: &Described<'_>) {
    let mut stream = server.connect();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: holm\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("read"));
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let content = &api.description["paths"]["/events"]["get"]["responses"]["200"]["content"];
    let (kind, content) = content.as_object().and_then(|kinds| kinds.iter().next()).expect("one");
    assert!(head.contains(&format!("content-type: {kind}")), "{head:?}");
    server.says(&["ns", "add", "seen"]);
    server.says(&[
        "-n",
        "seen",
        "export",
        "add",
        "/",
        &server.folder().join("red").to_string_lossy(),
    ]);
    server.says(&["-n", "seen", "listen", "add", "127.0.0.1:0"]);
    let path = server.folder().join("seen.sock");
    let link = json!({ "name": "p0", "type": "stream", "path": path, "addr": ["10.0.0.1/24"] });
    let route = json!({ "to": "default", "via": "10.0.0.2" });
    for (method, uri, body) in [
        ("POST", "links", Some(link)),
        ("POST", "routes", Some(route)),
        ("DELETE", "routes?to=default&via=10.0.0.2", None),
        ("DELETE", "links?name=p0&wait=20", None),
    ] {
        let body = body.map(|body| body.to_string());
        let answer = server.ask(method, &format!("/namespaces/seen/{uri}"), body.as_deref());
        assert!(answer.status < 300, "{method} {uri}: {}", answer.status);
    }
    server.says(&["ns", "del", "seen"]);
    let mut seen = BTreeSet::new();
    // Between the lengths of the chunks.
    for line in lines.filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        api.check(&content["schema"], &event, &line);
        let what = event["event"].as_str().expect("text").to_owned();
        let is_last = what == "gone";
        seen.insert(what);
        if is_last {
            break;
        }
    }
    for expected in [
        "created",
        "draining",
        "gone",
        "export-added",
        "listener-added",
        "link-added",
        "link-changed",
        "link-removed",
        "route-added",
        "route-removed",
    ] {
        assert!(seen.contains(expected), "{expected} in {seen:?}");
    }
}

/// The check above fails where there is something that is not described, or something else.
#[test]
fn what_is_not_as_described_is_noticed() {
    let server = Running::start("");
    let api = Described::new(&server);
    let schema = json!({ "$ref": "#/components/schemas/NamespaceView" });
    server.says(&["ns", "add", "blue"]);
    let good = server.ask("GET", "/namespaces/blue", None).json();
    let check = api.validator(&schema);
    assert!(check.is_valid(&good));
    let with = |name: &str, value: Value| {
        let mut changed: Map<String, Value> = good.as_object().expect("an object").clone();
        changed.insert(name.into(), value);
        Value::Object(changed)
    };
    assert!(!check.is_valid(&with("more", json!(1))));
    assert!(!check.is_valid(&with("id", json!("1"))));
    assert!(!check.is_valid(&with("state", json!("asleep"))));
    assert!(!check.is_valid(&with("exports", json!([{ "path": "/" }]))));
    let mut less = good.clone();
    less.as_object_mut().expect("an object").remove("listeners");
    assert!(!check.is_valid(&less));
}

#[test]
fn every_refusal_says_why_in_json() {
    let server = Running::start("");
    let api = Described::new(&server);
    let error = json!({ "$ref": "#/components/schemas/ErrorBody" });
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(300 << 10));
    for (method, uri, body, status) in [
        ("GET", "/", None, 404),
        ("GET", "/namespaces/", None, 404),
        ("GET", "/namespaces/a/b/c", None, 404),
        ("GET", "/namespaces/%FF", None, 400),
        ("PATCH", "/namespaces", None, 405),
        ("POST", "/events", None, 405),
        ("DELETE", "/metrics", None, 405),
        ("POST", "/namespaces", Some(""), 400),
        ("POST", "/namespaces", Some("{"), 400),
        ("POST", "/namespaces", Some("[]"), 400),
        ("POST", "/namespaces", Some("{\"name\": 5}"), 400),
        ("POST", "/namespaces", Some(huge.as_str()), 413),
        ("DELETE", "/namespaces/blue?wait=-1", None, 400),
        ("DELETE", "/namespaces/blue?unknown=1", None, 400),
    ] {
        let answer = server.ask(method, uri, body);
        assert_eq!(answer.status, status, "{method} {uri}: {answer:?}");
        let json = answer.json();
        api.check(&error, &json, uri);
        assert!(json["message"].as_str().expect("text").len() > 20, "{json}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{answer:?}");
    }
}

#[test]
fn a_head_that_never_ends_is_cut_off_and_disturbs_nobody() {
    let server = Running::start("");
    let mut stream = server.connect();
    stream.write_all(b"GET /namespaces HTTP/1.1\r\nx: ").expect("sent");
    let filler = [b'x'; 1024];
    // It ends with an answer or a closed connection, whatever we still send.
    while stream.write_all(&filler).is_ok() {}
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431"), "{rest:?}");
    server.says(&["ns", "list"]);
}

#[test]
fn there_is_a_most_of_connections_and_who_comes_then_is_told() {
    let server = Running::start("");
    let mut held = Vec::new();
    // Each gets an answer, so that it has been accepted.
    let refused = loop {
        let mut stream = server.connect();
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: holm\r\n\r\n").expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("answered");
        if first != *b"HTTP/1.1 200" {
            break first;
        }
        held.push(stream);
        assert!(held.len() < 1000, "there is no limit");
    };
    assert_eq!(refused, *b"HTTP/1.1 503");
    let said = server.refused(1, &["ns", "list"]);
    assert!(said.contains("try again"), "{said}");
    // Who has gone makes room.
    drop(held);
    while !server.holm(&["ns", "list"]).status.success() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn who_reads_events_slowly_is_told_how_many_are_missing() {
    let server = Running::start("");
    let mut slow = server.connect();
    slow.write_all(b"GET /events HTTP/1.1\r\nhost: holm\r\n\r\n").expect("sent");
    let mut slow = BufReader::new(slow);
    // The head has come: from now on it is told of everything.
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        slow.read_line(&mut line).expect("read");
    }
    // More than the server remembers and the socket holds; nobody waits for the slow one.
    server.says(&["ns", "add", "busy"]);
    let mut busy = server.connect();
    const CHANGES: u64 = 5000;
    for round in 0..CHANGES {
        let body = format!("{{\"connections\": {}}}", 1 + round % 2);
        let length = body.len();
        let head = "PUT /namespaces/busy/limits HTTP/1.1\r\nhost: holm";
        let request = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        busy.write_all(request.as_bytes()).expect("sent");
        let head = read_answer(&mut busy);
        assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    }
    server.says(&["ns", "add", "last"]);
    let (mut missed, mut seen) = (0, 0);
    for line in slow.lines().map(|line| line.expect("read")).filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(&line).expect("JSON");
        match event["event"].as_str() {
            Some("missed") => missed += event["count"].as_u64().expect("a count"),
            Some("limits-changed") => seen += 1,
            Some("created") if event["ns"].as_str().is_some_and(|ns| ns.starts_with("last@")) => {
                break;
            }
            _ => {}
        }
    }
    assert!(missed > 0 && seen > 0, "{missed} missed, {seen} seen");
    assert_eq!(missed + seen, CHANGES);
}

/// The head of an answer, after all of it was read.
fn read_answer(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("read");
        head.extend(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("read");
    head
}
