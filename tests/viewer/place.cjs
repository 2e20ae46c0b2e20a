"use strict";
/*
 * Print where the XNAT OHIF viewer (3.6, 3.7) shows every frame of a DICOM-SEG.
 *
 *   node place.cjs < JOBS
 *
 * JOBS is a JSON list of {seg, images}: a path, and paths in the order of the viewer's
 * stack. Prints a list of equal length: what is shown, or {error}.
 *
 * Parsing, normalising and unpacking are dcmjs's, in the version the viewer pins. What
 * the viewer does itself with the result is written here anew, oddities included:
 *
 *   - the mask belongs to the first referenced series;
 *   - frame i lies on item i of a SourceImageSequence at the root, if there is one,
 *     and only without one on the image that the frame itself names;
 *   - of a multi-frame series only the first instance is shown, and its frames are
 *     found by number alone;
 *   - a frame whose image is not in the stack is left out without a word;
 *   - every pixel holds one segment, the last.
 *
 * Flipped and rotated frames, which the viewer turns back, are an error here: ours
 * never are.
 */
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const dcmjs = require("dcmjs");

const { BitArray, DicomMessage, DicomMetaDictionary } = dcmjs.data;
const COSINE_TOLERANCE = 1e-3;
const UNCOMPRESSED = new Set(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]);

function read(path) {
  const bytes = readFileSync(path);
  const start = bytes.byteOffset;
  const file = DicomMessage.readFile(
    bytes.buffer.slice(start, start + bytes.byteLength)
  );
  const dataset = DicomMetaDictionary.naturalizeDataset(file.dict);
  dataset._meta = DicomMetaDictionary.namifyDataset(file.meta);
  return dataset;
}

/** Direction cosines of a single image (index 0) or of one frame of several. */
function orientation(dataset, index) {
  const shared = dataset.SharedFunctionalGroupsSequence;
  const own = dataset.PerFrameFunctionalGroupsSequence;
  const plane = own
    ? shared[0].PlaneOrientationSequence || own[index].PlaneOrientationSequence
    : [dataset];
  return plane[0].ImageOrientationPatient.map(Number);
}

/** The stack of one series: single images, or the frames of its first instance. */
function stackOf(instances) {
  const first = instances[0];
  const frames = Number(first.NumberOfFrames || 1);
  const planes =
    frames > 1
      ? Array.from({ length: frames }, (_, index) => [first, index])
      : instances.map((instance) => [instance, null]);
  return planes.map(([instance, index]) => ({
    uid: instance.SOPInstanceUID,
    frame: index === null ? null : index + 1,
    rows: instance.Rows,
    columns: instance.Columns,
    orientation: orientation(instance, index || 0),
    labels: new Uint16Array(instance.Rows * instance.Columns),
  }));
}

function sourceOf(seg, index) {
  const source = seg.SourceImageSequence
    ? seg.SourceImageSequence[index]
    : seg.PerFrameFunctionalGroupsSequence[index].DerivationImageSequence
        .SourceImageSequence;
  if (!source) throw new Error(`frame ${index + 1} names no source image`);
  return source;
}

function imageOf(stack, source) {
  const number = source.ReferencedFrameNumber;
  if (number && stack[0].frame !== null) {
    return stack.find((image) => image.frame === Number(number));
  }
  if (number) return undefined;
  return stack.find((image) => image.uid === source.ReferencedSOPInstanceUID);
}

function check(seg, index, stack, image) {
  const cosines = orientation(seg, index);
  const off = cosines.some(
    (value, axis) => Math.abs(value - stack[0].orientation[axis]) > COSINE_TOLERANCE
  );
  if (off) throw new Error(`frame ${index + 1} has another orientation than its image`);
  if (image && (image.rows !== seg.Rows || image.columns !== seg.Columns)) {
    throw new Error(`frame ${index + 1} has another size than its image`);
  }
}

/** One byte per pixel, frame after frame. */
function pixelsOf(seg) {
  const syntax = seg._meta.TransferSyntaxUID.Value[0];
  if (seg.SegmentationType !== "BINARY" || !UNCOMPRESSED.has(syntax)) {
    throw new Error("only uncompressed binary segmentations can be unpacked");
  }
  const packed = seg.PixelData;
  return BitArray.unpack(Array.isArray(packed) ? packed[0] : packed);
}

/** Paint all frames onto the stack; return how many had no image there. */
function paint(seg, stack) {
  const size = seg.Rows * seg.Columns;
  const pixels = pixelsOf(seg);
  let dropped = 0;
  seg.PerFrameFunctionalGroupsSequence.forEach((groups, index) => {
    const image = imageOf(stack, sourceOf(seg, index));
    check(seg, index, stack, image);
    if (!image) {
      dropped += 1;
      return;
    }
    const segment = groups.SegmentIdentificationSequence.ReferencedSegmentNumber;
    const frame = pixels.subarray(index * size, (index + 1) * size);
    frame.forEach((value, at) => {
      if (value) image.labels[at] = segment;
    });
  });
  return dropped;
}

/** The masks of one image as it is shown: one per segment that has a pixel there. */
function masksOf(image) {
  const segments = [...new Set(image.labels)].filter((segment) => segment !== 0);
  return segments.map((segment) => {
    const mask = Uint8Array.from(image.labels, (label) => Number(label === segment));
    return {
      segment,
      sop_instance_uid: image.uid,
      frame_number: image.frame,
      pixels: mask.reduce((sum, value) => sum + value, 0),
      sha256: createHash("sha256").update(mask).digest("hex"),
    };
  });
}

function place(segPath, imagePaths) {
  const seg = dcmjs.normalizers.Normalizer.normalizeToDataset([read(segPath)]);
  const series = seg.ReferencedSeriesSequence[0].SeriesInstanceUID;
  const images = imagePaths
    .map(read)
    .filter((image) => image.SeriesInstanceUID === series);
  if (!images.length) throw new Error(`no image of the referenced series ${series}`);
  const stack = stackOf(images);
  const dropped = paint(seg, stack);
  return {
    series_uid: series,
    labels: seg.SegmentSequence.map((segment) => segment.SegmentLabel),
    images: stack.length,
    dropped,
    masks: stack.flatMap(masksOf),
  };
}

function answer({ seg, images }) {
  try {
    return place(seg, images);
  } catch (error) {
    return { error: error.message };
  }
}

const jobs = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(`${JSON.stringify(jobs.map(answer))}\n`);
