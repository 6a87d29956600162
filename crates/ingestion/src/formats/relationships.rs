//! Links between the parts of an Office document. Only links inside the archive are kept.

use super::archive::Archive;
use super::xml::{Xml, XmlReader};
use crate::ParseError;

/// A link to another part.
pub(crate) struct Relationship {
    pub(crate) id: String,
    /// The last segment of the type, such as `slide`.
    pub(crate) kind: String,
    /// Name of the part in the archive.
    pub(crate) target: String,
}

/// The links of `part`; none when it has no link file. External ones are never followed, so they are left out.
pub(crate) fn of_part(archive: &mut Archive<'_>, part: &str) -> Result<Vec<Relationship>, ParseError> {
    let (directory, file) = part.rsplit_once('/').unwrap_or(("", part));
    let mut links = Vec::new();
    let Some(member) = archive.member(&format!("{directory}/_rels/{file}.rels"))? else { return Ok(links) };
    let mut reader = XmlReader::new(member);
    loop {
        match reader.next()? {
            Xml::Start(element) if element.name() == "Relationship" => {
                let external = element.attribute("TargetMode").is_some_and(|mode| mode == "External");
                if let (false, Some(id), Some(target)) =
                    (external, element.attribute("Id"), element.attribute("Target"))
                {
                    let kind = element.attribute("Type").unwrap_or_default();
                    let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                    links.push(Relationship { id, kind, target: resolve(directory, &target) });
                }
            }
            Xml::Eof => return Ok(links),
            _ => {}
        }
    }
}

/// Resolves a link relative to a directory of the archive. It is only ever a name to look up, never a path.
pub(crate) fn resolve(directory: &str, target: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        segments.extend(directory.split('/').filter(|segment| !segment.is_empty()));
    }
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn links_are_relative_to_their_part() {
        assert_eq!(resolve("ppt/slides", "../notesSlides/n1.xml"), "ppt/notesSlides/n1.xml");
        assert_eq!(resolve("ppt", "slides/s1.xml"), "ppt/slides/s1.xml");
        assert_eq!(resolve("ppt", "/ppt/slides/s1.xml"), "ppt/slides/s1.xml");
        assert_eq!(resolve("a", "../../../etc/passwd"), "etc/passwd");
    }
}
