//! The words after `link add NAME` and `link set NAME`: keys and their values, as in the configuration,
//! and words that stand alone, as `up`.

use crate::fields;
use crate::model::{HashLayer, LacpSpec, LaggProto, LinkKind, LinkPatch, LinkSpec, MediaSpec};
use crate::spelling::nearest;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The interface that is to be made. Its name may be missing: then the words begin with `type`.
///
/// # Errors
///
/// What is wrong with the words.
pub fn new_link(name: &str, words: &[String]) -> Result<LinkSpec, String> {
    // Of the other end of a pair is said by `link set` what that is to be like.
    let mut said = Said::of::<LinkSpec>(&["name", "peer-link"]);
    let is_nameless = name == TYPE && !words.iter().any(|word| word == TYPE);
    let (name, first) = if is_nameless { ("", Some(name.to_owned())) } else { (name, None) };
    let words: Vec<String> = first.into_iter().chain(words.iter().cloned()).collect();
    said.take(&words)?;
    if !said.keys.contains_key(TYPE) {
        let kinds = fields::of::<LinkKind>().join(", ");
        return Err(format!("{name} needs a type: link add {name} type KIND; kinds are {kinds}"));
    }
    said.keys.insert("name".into(), name.into());
    said.finish()
}

/// What is to be different about one.
///
/// # Errors
///
/// What is wrong with the words.
pub fn change(words: &[String]) -> Result<LinkPatch, String> {
    let mut said = Said::of::<LinkPatch>(&[]);
    said.take(words)?;
    if said.keys.contains_key("master") && said.keys.contains_key("nomaster") {
        return Err("master and nomaster do not go together: leave one out".into());
    }
    said.finish()
}

const TYPE: &str = "type";

/// Words that stand alone, the key that each is short for, and what that becomes.
const SWITCHES: [(&str, &str, bool); 13] = [
    ("up", "up", true),
    ("down", "up", false),
    ("connect", "connect", true),
    ("listen", "connect", false),
    ("nomaster", "nomaster", true),
    ("full-duplex", "full-duplex", true),
    ("half-duplex", "full-duplex", false),
    ("active", "active", true),
    ("passive", "active", false),
    ("fast", "fast", true),
    ("slow", "fast", false),
    ("strict", "strict", true),
    ("loose", "strict", false),
];

/// What has been said.
struct Said {
    /// Which keys there are, of what is made and of its [`PARTS`].
    known: Vec<&'static str>,
    keys: Map<String, Value>,
    parts: [Map<String, Value>; 2],
}

impl Said {
    /// Nothing yet, of what becomes a `T`, of which not all is said by words.
    fn of<T: DeserializeOwned>(not_by_words: &[&str]) -> Self {
        let known = fields::of::<T>().iter().chain(parts().into_iter().flatten()).copied();
        let by_words = |key: &&str| !PARTS.contains(key) && !not_by_words.contains(key);
        let known = known.filter(by_words).collect();
        Self { known, keys: Map::new(), parts: Default::default() }
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let switch = self.switches().find(|(switch, ..)| *switch == word);
            if let Some((_, key, on)) = switch {
                self.put(word, key, Value::Bool(on))?;
            } else if self.keys_with_values().any(|key| key == word) {
                let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                self.put(word, word, value_of(word, value)?)?;
            } else {
                return Err(self.unknown(word));
            }
        }
        Ok(())
    }

    fn switches(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        SWITCHES.into_iter().filter(|(_, key, _)| self.known.contains(key))
    }

    fn keys_with_values(&self) -> impl Iterator<Item = &'static str> {
        let is_switch = |key: &str| SWITCHES.iter().any(|(_, switch, _)| *switch == key);
        self.known.iter().copied().filter(move |key| !is_switch(key))
    }

    fn put(&mut self, word: &str, key: &str, value: Value) -> Result<(), String> {
        let mut parts = self.parts.iter_mut().zip(parts());
        let part = parts.find(|(_, fields)| fields.contains(&key));
        let keys = part.map_or(&mut self.keys, |(keys, _)| keys);
        match (keys.get_mut(key), value) {
            (None, value) => {
                keys.insert(key.into(), value);
            }
            (Some(Value::Array(before)), Value::Array(more)) => before.extend(more),
            (Some(_), _) => {
                return Err(format!("{word} is more than was said before: say it once"));
            }
        }
        Ok(())
    }

    fn unknown(&self, word: &str) -> String {
        let switches = self.switches().map(|(switch, ..)| switch);
        let mut known: Vec<&str> = self.keys_with_values().chain(switches).collect();
        known.sort_unstable();
        match nearest(word, known.iter().copied()) {
            Some(near) => format!("{word} means nothing here: did you mean {near}?"),
            None => format!("{word} means nothing here: there are {}", known.join(", ")),
        }
    }

    fn finish<T: DeserializeOwned>(mut self) -> Result<T, String> {
        for (part, keys) in PARTS.into_iter().zip(self.parts) {
            if !keys.is_empty() {
                self.keys.insert(part.into(), Value::Object(keys));
            }
        }
        serde_json::from_value(Value::Object(self.keys)).map_err(|error| error.to_string())
    }
}

fn value_of(key: &str, word: &str) -> Result<Value, String> {
    match key {
        "mtu" | "speed" | "system-priority" => {
            let number = word.parse::<u32>();
            Ok(number.map_err(|_| format!("{key} cannot be {word:?}: write a number"))?.into())
        }
        "addr" | "ports" => Ok(list(word)),
        "hash" => {
            word.split(',').try_for_each(|layer| choice::<HashLayer>(key, layer))?;
            Ok(list(word))
        }
        "type" => choice::<LinkKind>(key, word).map(|()| word.into()),
        "proto" => choice::<LaggProto>(key, word).map(|()| word.into()),
        "path" | "peer-path" => Ok(absolute(word)),
        "netns" => Ok(word.parse::<u32>().map_or_else(|_| absolute(word), Value::from)),
        _ => Ok(word.into()),
    }
}

fn list(words: &str) -> Value {
    words.split(',').filter(|word| !word.is_empty()).collect()
}

/// A path as seen from here, as it is seen from where the server is.
fn absolute(path: &str) -> Value {
    let whole = std::path::absolute(path).ok().and_then(|path| path.to_str().map(Value::from));
    whole.unwrap_or_else(|| path.into())
}

/// Whether a word is one of those that `T` can be.
fn choice<T: DeserializeOwned>(key: &str, word: &str) -> Result<(), String> {
    let choices = fields::of::<T>();
    if choices.contains(&word) {
        return Ok(());
    }
    Err(match nearest(word, choices.iter().copied()) {
        Some(near) => format!("{key} cannot be {word}: did you mean {near}?"),
        None => format!("{key} cannot be {word}: it can be {}", choices.join(", ")),
    })
}

/// The keys whose own keys are said like all others.
const PARTS: [&str; 2] = ["lacp", "media"];

/// What these are.
fn parts() -> [&'static [&'static str]; 2] {
    [fields::of::<LacpSpec>(), fields::of::<MediaSpec>()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetnsRef;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn words_say_what_the_configuration_does() {
        let line = "type lagg proto lacp ports p0,p1 ports p2 hash l3,l4 passive fast \
                    system-priority 7 addr 10.0.0.1/24 mtu 9000 down mac 02:00:00:00:00:01 \
                    speed 1000 half-duplex";
        let toml = "name = 'lagg0'\ntype = 'lagg'\nproto = 'lacp'\nports = ['p0', 'p1', 'p2']\n\
                    hash = ['l3', 'l4']\naddr = ['10.0.0.1/24']\nmtu = 9000\nup = false\n\
                    mac = '02:00:00:00:00:01'\n\
                    lacp = { active = false, fast = true, system-priority = 7 }\n\
                    media = { speed = 1000, full-duplex = false }";
        let expected: LinkSpec = toml::from_str(toml).unwrap();
        assert_eq!(new_link("lagg0", &words(line)), Ok(expected));

        let tap = new_link("t", &words("type tap netns 77")).unwrap();
        assert_eq!((tap.netns, tap.up), (Some(NetnsRef::Pid(77)), true));
        let stream = new_link("s", &words("type stream path x.sock connect")).unwrap();
        let path = stream.path.unwrap();
        assert!(path.is_absolute() && path.ends_with("x.sock") && stream.connect);

        let patch = change(&words("up mtu 1400 master lagg0 name p9 strict")).unwrap();
        let lacp = LacpSpec { strict: Some(true), ..LacpSpec::default() };
        let expected = LinkPatch {
            up: Some(true),
            mtu: Some(1400),
            master: Some("lagg0".into()),
            name: Some("p9".into()),
            lacp: Some(lacp),
            ..LinkPatch::default()
        };
        assert_eq!(patch, expected);
        assert!(change(&words("nomaster")).unwrap().nomaster);
    }

    #[test]
    fn words_that_mean_nothing_are_told_what_was_meant() {
        for (line, expected) in [
            ("mtu 9000", "needs a type"),
            ("type strem path /x", "did you mean stream?"),
            ("type wholly-unknown", "it can be lo, pair, "),
            ("type lagg prto lacp", "did you mean proto?"),
            ("type lagg proto lcap", "did you mean lacp?"),
            ("type lagg hash l3,l7", "did you mean l"),
            ("type lagg mtu", "mtu needs a value"),
            ("type lagg mtu many", "write a number"),
            ("type lagg up down", "down is more than was said"),
            ("type lagg type tap", "say it once"),
            ("type lagg nomaster", "nomaster means nothing here"),
        ] {
            let why = new_link("l", &words(line)).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
        for (line, expected) in [
            ("path /x", "means nothing here"),
            ("master l nomaster", "leave one out"),
            ("wholly-unknown", "there are active, "),
        ] {
            let why = change(&words(line)).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }
}
