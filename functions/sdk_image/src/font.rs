//! Capital letters and digits of three by five dots.

/// Dots of a sign from left to right.
pub(crate) const WIDTH: usize = 3;
/// Dots of a sign from top to bottom.
pub(crate) const HEIGHT: usize = 5;

/// Five rows of three dots for each sign, from the top; the left dot is the highest bit.
const SIGNS: [(char, [u8; HEIGHT]); 37] = [
    ('A', [2, 5, 7, 5, 5]),
    ('B', [6, 5, 6, 5, 6]),
    ('C', [3, 4, 4, 4, 3]),
    ('D', [6, 5, 5, 5, 6]),
    ('E', [7, 4, 6, 4, 7]),
    ('F', [7, 4, 6, 4, 4]),
    ('G', [3, 4, 5, 5, 3]),
    ('H', [5, 5, 7, 5, 5]),
    ('I', [7, 2, 2, 2, 7]),
    ('J', [1, 1, 1, 5, 2]),
    ('K', [5, 5, 6, 5, 5]),
    ('L', [4, 4, 4, 4, 7]),
    ('M', [5, 7, 7, 5, 5]),
    ('N', [6, 5, 5, 5, 5]),
    ('O', [2, 5, 5, 5, 2]),
    ('P', [6, 5, 6, 4, 4]),
    ('Q', [2, 5, 5, 6, 3]),
    ('R', [6, 5, 6, 5, 5]),
    ('S', [3, 4, 2, 1, 6]),
    ('T', [7, 2, 2, 2, 2]),
    ('U', [5, 5, 5, 5, 7]),
    ('V', [5, 5, 5, 5, 2]),
    ('W', [5, 5, 7, 7, 5]),
    ('X', [5, 5, 2, 5, 5]),
    ('Y', [5, 5, 2, 2, 2]),
    ('Z', [7, 1, 2, 4, 7]),
    ('0', [7, 5, 5, 5, 7]),
    ('1', [2, 6, 2, 2, 7]),
    ('2', [6, 1, 2, 4, 7]),
    ('3', [6, 1, 2, 1, 6]),
    ('4', [5, 5, 7, 1, 1]),
    ('5', [7, 4, 6, 1, 6]),
    ('6', [3, 4, 6, 5, 2]),
    ('7', [7, 1, 2, 2, 2]),
    ('8', [2, 5, 2, 5, 2]),
    ('9', [2, 5, 3, 1, 6]),
    ('-', [0, 0, 7, 0, 0]),
];

/// Whether a dot of a word is lit, on a plate with a margin of one dot around it.
pub(crate) fn is_lit(word: &str, column: usize, row: usize) -> bool {
    let (Some(column), Some(row)) = (column.checked_sub(1), row.checked_sub(1)) else {
        return false;
    };
    let (number, column) = (column / (WIDTH + 1), column % (WIDTH + 1));
    let Some(sign) = word.chars().nth(number) else {
        return false;
    };
    let sign = sign.to_ascii_uppercase();
    let rows = SIGNS
        .iter()
        .find(|(known, _)| *known == sign)
        .map(|(_, rows)| rows);
    let dots = rows.and_then(|rows| rows.get(row)).copied().unwrap_or(0);
    column < WIDTH && dots & (4 >> column) != 0
}
