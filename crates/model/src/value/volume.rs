//! The short form of `volumes`: `[source:]target[:options]`.

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    /// A folder of this machine or a named volume; empty: a volume without a name.
    pub source: String,
    /// The path inside the container.
    pub target: String,
    /// `ro`.
    pub read_only: bool,
    /// `nocopy`.
    pub nocopy: bool,
    /// `z` or `Z`.
    pub selinux: String,
    /// `shared`, `rslave` and so on.
    pub propagation: String,
    /// Options that nobody knows.
    pub unknown: Vec<String>,
}

impl Volume {
    /// Whether the source is a path of this machine, not a name.
    pub(crate) fn is_bind(&self) -> bool {
        self.source.starts_with(['.', '/', '~']) || self.source.starts_with("\\\\") || is_drive(&self.source)
    }
}

fn is_drive(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next() == Some(':')
}

/// Reads the short form; the error is a sentence.
pub(crate) fn parse(text: &str) -> Result<Volume, String> {
    let mut parts: Vec<String> = Vec::new();
    let pieces: Vec<&str> = text.split(':').collect();
    for (at, piece) in pieces.iter().copied().enumerate() {
        // `C:\data:/data`, `C:/data:/data`: a letter and a path, with the target behind it, is a drive and no name.
        let letter =
            parts.last().is_some_and(|last| last.len() == 1 && last.chars().all(char::is_alphabetic));
        let target_follows = pieces.get(at + 1).is_some_and(|next| next.starts_with('/'));
        let drive = letter && (piece.starts_with('\\') || piece.starts_with('/') && target_follows);
        match parts.last_mut() {
            Some(last) if drive => {
                last.push(':');
                last.push_str(piece);
            }
            _ => parts.push(piece.to_owned()),
        }
    }
    if parts.iter().any(String::is_empty) {
        return Err(
            if text.is_empty() { "a volume is empty" } else { "a part between colons is empty" }.to_owned()
        );
    }
    let mut volume = Volume::default();
    match parts.as_slice() {
        [target] => volume.target.clone_from(target),
        [source, target] => {
            volume.source.clone_from(source);
            volume.target.clone_from(target);
        }
        [source, target, options] => {
            volume.source.clone_from(source);
            volume.target.clone_from(target);
            for option in options.split(',') {
                match option {
                    "ro" => volume.read_only = true,
                    "rw" => volume.read_only = false,
                    "nocopy" => volume.nocopy = true,
                    "z" | "Z" => volume.selinux = option.to_owned(),
                    "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => {
                        volume.propagation = option.to_owned();
                    }
                    other => volume.unknown.push(other.to_owned()),
                }
            }
        }
        _ => return Err("a volume has at most three parts: source:target:options".to_owned()),
    }
    Ok(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_in_all_its_shapes() {
        let volume = parse("./data:/data:ro,z").unwrap();
        assert!(volume.is_bind() && volume.read_only && volume.selinux == "z");
        let volume = parse("db:/var/lib").unwrap();
        assert!(!volume.is_bind() && volume.source == "db" && volume.target == "/var/lib");
        assert_eq!(parse("/cache").unwrap().source, "");
        assert_eq!(parse("v:/v").unwrap().source, "v");
        assert_eq!(parse("C:\\data:/data:ro").unwrap().source, "C:\\data");
        assert_eq!(parse("C:/data:/data").unwrap().target, "/data");
        assert_eq!(parse("a:/b:wild").unwrap().unknown, ["wild"]);
        for text in ["", ":", "a:", ":/b", "a:b:c:d", "a::ro"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
