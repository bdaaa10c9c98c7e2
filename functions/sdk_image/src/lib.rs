//! Pictures as tasks of orders work on them: PNG files in and out, and what is done to their pixels.

mod font;

use std::io::Cursor;

use edgeless_order_step::json::Object;
use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Limits, Transformations};

/// The most pixels a picture may have: an instance has 32 MiB of memory unless its node gives it more.
pub const MAX_PIXELS: usize = 3_000_000;

/// A picture: rows from the top, each pixel red, green, blue and opacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 4]>,
}

/// How light a picture is made, and how much its tones differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustment {
    /// Added to each colour, -255 to 255.
    brightness: f32,
    /// The distance of each colour from the middle is multiplied by this, 0 to 10.
    contrast: f32,
}

impl Adjustment {
    /// Reads `init-payload`: `{"brightness": 20, "contrast": 1.2}`, of which either may be absent.
    ///
    /// # Errors
    /// It is anything else; in words.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(payload).unwrap_or("what is not UTF-8");
        let read = || {
            let text = if text.is_empty() { "{}" } else { text };
            let object = Object::read(text)?;
            let known = |key| [r#""brightness""#, r#""contrast""#].contains(&key);
            object.fields().all(|(key, _)| known(key)).then_some(())?;
            let number = |key: &str, absent: f32, least: f32, most: f32| {
                let number = object
                    .get(key)
                    .map_or(Some(absent), |text| text.parse().ok());
                number.filter(|number| (least..=most).contains(number))
            };
            Some(Self {
                brightness: number(r#""brightness""#, 0.0, -255.0, 255.0)?,
                contrast: number(r#""contrast""#, 1.0, 0.0, 10.0)?,
            })
        };
        read().ok_or_else(|| {
            format!(r#"`{text}` is no init-payload: write {{"brightness": 20, "contrast": 1.2}}"#)
        })
    }
}

impl Picture {
    /// Reads a PNG file.
    ///
    /// # Errors
    /// It is none, or too large; in words.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let limits = Limits {
            bytes: 5 * MAX_PIXELS,
        };
        let mut decoder = Decoder::new_with_limits(Cursor::new(file), limits);
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder
            .read_info()
            .map_err(|error| format!("no PNG: {error}"))?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(format!(
                "{width} x {height} pixels are more than {MAX_PIXELS}"
            ));
        }
        let size = reader
            .output_buffer_size()
            .ok_or("the picture is too large")?;
        let mut raw = vec![0; size];
        let frame = reader
            .next_frame(&mut raw)
            .map_err(|error| format!("no PNG: {error}"))?;
        let raw = &raw[..frame.buffer_size()];
        let pixels = match frame.color_type {
            ColorType::Grayscale => raw.iter().map(|it| [*it, *it, *it, 255]).collect(),
            ColorType::GrayscaleAlpha => raw
                .chunks_exact(2)
                .map(|it| [it[0], it[0], it[0], it[1]])
                .collect(),
            ColorType::Rgb => raw
                .chunks_exact(3)
                .map(|it| [it[0], it[1], it[2], 255])
                .collect(),
            ColorType::Rgba => raw
                .chunks_exact(4)
                .map(|it| [it[0], it[1], it[2], it[3]])
                .collect(),
            ColorType::Indexed => return Err("a palette that was not resolved".to_owned()),
        };
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Writes a PNG file; without opacity where everything is opaque.
    ///
    /// # Errors
    /// There is no memory for it; in words.
    pub fn write(&self) -> Result<Vec<u8>, String> {
        let opaque = self.pixels.iter().all(|pixel| pixel[3] == 255);
        let raw: Vec<u8> = match opaque {
            true => self
                .pixels
                .iter()
                .flat_map(|it| [it[0], it[1], it[2]])
                .collect(),
            false => self.pixels.iter().flatten().copied().collect(),
        };
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(if opaque {
            ColorType::Rgb
        } else {
            ColorType::Rgba
        });
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Fast);
        let write = || {
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&raw)?;
            writer.finish()
        };
        write().map_err(|error| error.to_string())?;
        Ok(file)
    }

    /// Its width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Makes it lighter or darker, and its tones differ more or less.
    pub fn adjust(&mut self, by: Adjustment) {
        let tone = |value: u8| {
            let value = (f32::from(value) - 128.0) * by.contrast + 128.0 + by.brightness;
            value.round().clamp(0.0, 255.0) as u8
        };
        let tones: Vec<u8> = (0..=255).map(tone).collect();
        for pixel in &mut self.pixels {
            for colour in &mut pixel[..3] {
                *colour = tones[usize::from(*colour)];
            }
        }
    }

    /// The same picture with a width of `1..` pixels; its height follows. Each pixel is the mean of those it stands for.
    ///
    /// # Errors
    /// It would be too large; in words.
    pub fn resized(&self, width: usize) -> Result<Self, String> {
        let height = (self.height * width).div_ceil(self.width).max(1);
        if width == 0 || width.saturating_mul(height) > MAX_PIXELS {
            return Err(format!(
                "{width} x {height} pixels are none or more than {MAX_PIXELS}"
            ));
        }
        let range = |at: usize, of: usize, from: usize| {
            let begin = at * from / of;
            begin..((at + 1) * from / of).max(begin + 1)
        };
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (mut sums, mut count) = ([0_u32; 4], 0);
                for row in range(y, height, self.height) {
                    for column in range(x, width, self.width) {
                        let pixel = self.pixels[row * self.width + column];
                        for (sum, value) in sums.iter_mut().zip(pixel) {
                            *sum += u32::from(value);
                        }
                        count += 1;
                    }
                }
                pixels.push(sums.map(|sum| (sum / count) as u8));
            }
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Writes a word in white on a black plate into the lower right corner; as large as it fits, but no higher than a
    /// tenth of the picture unless that were too small to be seen. What the font lacks is a gap.
    pub fn mark(&mut self, word: &str) {
        let columns = word.chars().count() * (font::WIDTH + 1) + 1;
        let rows = font::HEIGHT + 2;
        let scale = (self.height / 10 / rows).min(self.width / columns).max(1);
        let left = self.width.saturating_sub(columns * scale);
        let top = self.height.saturating_sub(rows * scale);
        for y in top..self.height {
            for x in left..self.width {
                let (row, column) = ((y - top) / scale, (x - left) / scale);
                let lit = font::is_lit(word, column, row);
                let tone = if lit { 255 } else { 0 };
                self.pixels[y * self.width + x] = [tone, tone, tone, 255];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize, height: usize, pixel: [u8; 4]) -> Picture {
        Picture {
            width,
            height,
            pixels: vec![pixel; width * height],
        }
    }

    #[test]
    fn a_picture_is_read_as_it_was_written() {
        for pixel in [[1, 2, 3, 255], [9, 8, 7, 6]] {
            let picture = plain(5, 3, pixel);
            assert_eq!(Picture::read(&picture.write().unwrap()).unwrap(), picture);
        }
        for wrong in [&b""[..], b"null", b"\x89PNG\r\n\x1a\n"] {
            assert!(Picture::read(wrong).is_err());
        }
    }

    #[test]
    fn light_and_contrast_keep_their_bounds() {
        let mut picture = plain(1, 1, [0, 128, 250, 7]);
        picture.adjust(Adjustment::read(br#"{"brightness": 10, "contrast": 1.5}"#).unwrap());
        assert_eq!(picture.pixels, [[0, 138, 255, 7]]);
        let before = picture.clone();
        picture.adjust(Adjustment::read(b"").unwrap());
        assert_eq!(picture, before);
        for wrong in [
            "1",
            r#"{"bright": 1}"#,
            r#"{"contrast": -1}"#,
            r#"{"brightness": "a"}"#,
        ] {
            let why = Adjustment::read(wrong.as_bytes()).unwrap_err();
            assert!(why.contains(wrong), "{why}");
        }
    }

    #[test]
    fn a_smaller_picture_has_the_means_and_the_same_shape() {
        let mut picture = plain(4, 2, [0, 0, 0, 255]);
        for at in [0, 1, 4, 5] {
            picture.pixels[at] = [100, 200, 40, 255];
        }
        let half = picture.resized(2).unwrap();
        assert_eq!((half.width(), half.height()), (2, 1));
        assert_eq!(half.pixels, [[100, 200, 40, 255], [0, 0, 0, 255]]);
        let twice = picture.resized(8).unwrap();
        assert_eq!((twice.width(), twice.height()), (8, 4));
        assert!(picture.resized(0).is_err() && picture.resized(100_000).is_err());
    }

    #[test]
    fn the_mark_is_in_the_corner_and_nowhere_else() {
        let grey = [90, 90, 90, 255];
        let mut picture = plain(100, 70, grey);
        picture.mark("AB");
        let at = |x: usize, y: usize| picture.pixels[y * 100 + x];
        assert_eq!(at(0, 0), grey);
        assert_eq!(at(99, 69), [0, 0, 0, 255]);
        assert!(picture.pixels.contains(&[255, 255, 255, 255]));
        assert_eq!((at(90, 69), at(99, 62)), (grey, grey));
        plain(2, 2, grey).mark("EDGELESS");
    }
}
