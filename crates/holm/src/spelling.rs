//! What was probably meant by a word that is not known.

/// The one of `known` that was probably meant.
pub(crate) fn nearest<'k>(
    meant: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let distances =
        known.into_iter().map(|known| (strsim::damerau_levenshtein(meant, known), known));
    let (distance, known) = distances.min()?;
    (distance <= 1 + known.len().min(meant.len()) / 3).then_some(known)
}
