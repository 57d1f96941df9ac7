//! Which octet may stand where: one table, made at compile time.

/// May stand in a token (RFC 9110 section 5.6.2): methods and field names.
pub(super) const TOKEN: u8 = 1;
/// May stand in the path of a request target.
pub(super) const PATH: u8 = 2;
/// May stand in the query of a request target.
pub(super) const QUERY: u8 = 4;
/// May stand in a registered name or IPv4 address (RFC 3986 section 3.2.2); without the comma, which no name has and which is
/// how two Host fields become one.
pub(super) const HOST: u8 = 8;
/// May stand in a field value or reason phrase: HTAB, SP, VCHAR, obs-text (RFC 9110 section 5.5).
pub(super) const TEXT: u8 = 16;

static TABLE: [u8; 256] = table();

/// Whether the octet belongs to the class.
#[inline]
pub(super) fn is(class: u8, octet: u8) -> bool {
    TABLE.get(usize::from(octet)).is_some_and(|classes| classes & class != 0)
}

/// The first octet that does not belong to the class.
#[inline]
pub(super) fn first_not(class: u8, octets: &[u8]) -> Option<usize> {
    octets.iter().position(|octet| !is(class, *octet))
}

const fn contains(set: &[u8], octet: u8) -> bool {
    let mut rest = set;
    while let [first, tail @ ..] = rest {
        if *first == octet {
            return true;
        }
        rest = tail;
    }
    false
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time; the index is below 256")]
const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = classes(at as u8);
        at += 1;
    }
    table
}

const fn classes(octet: u8) -> u8 {
    let mut classes = 0;
    let alnum = octet.is_ascii_alphanumeric();
    if alnum || contains(b"!#$%&'*+-.^_`|~", octet) {
        classes |= TOKEN;
    }
    // pchar and "/" of RFC 3986; and what browsers leave as it is: [ ] ^ { | }. All parsers read these alike.
    if alnum || contains(b"/-._~!$&'()*+,;=:@%[]^{|}", octet) {
        classes |= PATH;
    }
    // The query is opaque to everybody on the way; what would end it or hide in it stays out.
    if octet.is_ascii_graphic() && !contains(b"#\"<>", octet) {
        classes |= QUERY;
    }
    if alnum || contains(b"-._~!$&'()*+;=%", octet) {
        classes |= HOST;
    }
    if octet == b'\t' || (octet >= b' ' && octet != 0x7f) {
        classes |= TEXT;
    }
    classes
}
