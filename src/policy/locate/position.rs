//! Lines and columns, from 1, and the offsets in bytes that they stand for.

/// Where each line of a text begins.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect() }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// The line and the column, in characters, of the character at an offset.
    pub(super) fn position(&self, offset: usize) -> (u32, u32) {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default().chars().count();
        (number(line), number(before + 1))
    }

    /// The offset of a place that serde names: a line from 1, and how many bytes of it were read
    /// when the fault showed, which is 0 when it showed at the end of the line before.
    pub(super) fn offset(&self, line: usize, bytes: usize) -> usize {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        start.saturating_add(bytes.saturating_sub(1)).min(self.text.len())
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_at_line_feeds() {
        let text = "aé\u{1f980}b\r\nc\n";
        let lines = Lines::of(text);
        for (offset, position) in [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (1, 2)), // inside é
            (3, (1, 3)),
            (7, (1, 4)),
            (9, (1, 6)), // the line feed itself
            (10, (2, 1)),
            (12, (3, 1)),
            (99, (3, 1)),
        ] {
            assert_eq!(lines.position(offset), position, "{offset}");
        }
        assert_eq!((lines.offset(1, 0), lines.offset(2, 1), lines.offset(9, 9)), (0, 10, 8));
        assert_eq!(Lines::of("").position(0), (1, 1));
    }
}
