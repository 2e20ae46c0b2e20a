"use strict";
/*
 * Save masks drawn on a stack as the XNAT OHIF viewer does: with dcmjs's own writer.
 *
 *   node save.cjs < JOBS
 *
 * JOBS is a JSON list of {images, labels, names, seg}: paths in the order of the stack;
 * a raw file with one byte per pixel (0, or the number of a segment), slice after slice;
 * the segments' names; where to write. One path stands for a multi-frame file.
 */
const { readFileSync, writeFileSync } = require("node:fs");
const dcmjs = require("dcmjs");

const TISSUE = {
  CodeValue: "T-D0050",
  CodingSchemeDesignator: "SRT",
  CodeMeaning: "Tissue",
};
const OPTIONS = { includeSliceSpacing: true, rleEncode: false };
const SCANNER = {
  SeriesDescription: "drawn in the viewer",
  Manufacturer: "SIEMENS (synthetic)",
  ManufacturerModelName: "Avanto",
  SoftwareVersions: "syngo MR B17",
};

function imageOf(path, frame) {
  const bytes = readFileSync(path);
  const start = bytes.byteOffset;
  const buffer = bytes.buffer.slice(start, start + bytes.byteLength);
  const suffix = frame === null ? "" : `?frame=${frame}`;
  return { imageId: `wadouri:${path}${suffix}`, data: { byteArray: { buffer } } };
}

function stackOf(paths) {
  const first = imageOf(paths[0], null);
  const { dict } = dcmjs.data.DicomMessage.readFile(first.data.byteArray.buffer);
  const { NumberOfFrames } = dcmjs.data.DicomMetaDictionary.naturalizeDataset(dict);
  const frames = Number(NumberOfFrames || 1);
  return frames > 1
    ? Array.from({ length: frames }, (_, frame) => imageOf(paths[0], frame))
    : paths.map((path) => imageOf(path, null));
}

function labelmapOf(drawn, slices) {
  const size = drawn.length / slices;
  return Array.from({ length: slices }, (_, index) => {
    const pixelData = Uint16Array.from(
      drawn.subarray(index * size, (index + 1) * size)
    );
    return { pixelData, segmentsOnLabelmap: [...new Set(pixelData)] };
  });
}

function segmentOf(name, index) {
  return {
    SegmentNumber: `${index + 1}`,
    SegmentLabel: name,
    SegmentAlgorithmType: "MANUAL",
    SegmentedPropertyCategoryCodeSequence: TISSUE,
    SegmentedPropertyTypeCodeSequence: TISSUE,
    RecommendedDisplayCIELabValue: [128, 174, 128],
  };
}

async function save({ images, labels, names, seg }) {
  const stack = stackOf(images);
  const drawing = {
    labelmaps2D: labelmapOf(readFileSync(labels), stack.length),
    metadata: [undefined, ...names.map(segmentOf)],
  };
  const { Segmentation } = dcmjs.adapters.Cornerstone;
  const blob = Segmentation.generateSegmentation(stack, drawing, {
    ...OPTIONS,
    ...SCANNER,
  });
  writeFileSync(seg, Buffer.from(await blob.arrayBuffer()));
}

async function main() {
  for (const job of JSON.parse(readFileSync(0, "utf8"))) await save(job);
}

main();
