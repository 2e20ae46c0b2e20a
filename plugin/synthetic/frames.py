"""Functional groups of a synthetic Enhanced MR instance (PS3.3 C.7.6.16, C.8.13.5)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from highdicom import Volume
from pydicom.dataset import Dataset

from model.synthetic.site import FatSuppression, PhaseEncoding
from plugin.synthetic.headers import (
    PHASE_LENGTH_S,
    Visit,
    clock,
    decimal,
    orientation,
    window,
)

FRAME_TYPE = ["ORIGINAL", "PRIMARY", "DYNAMIC", "NONE"]
NUCLEUS = "1H"
STACK = "1"
LARMOR_MHZ_T = 42.577
"""Proton resonance frequency per tesla."""


def item(**elements: Any) -> Dataset:
    """Return a data set of the given elements, by keyword."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def code(value: str, meaning: str) -> Dataset:
    """Return one SNOMED CT code sequence item."""
    return item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def suppression(visit: Visit) -> str:
    """Return the DICOM term for the site's fat suppression."""
    bare = visit.case.site.protocol.fat_suppression is FatSuppression.NONE
    return "NONE" if bare else "FAT"


def shared(visit: Visit, volume: Volume) -> Dataset:
    """Return the functional groups that hold for every frame."""
    spacing = decimal([volume.spacing_between_slices])[0]
    measures = item(
        PixelSpacing=decimal(volume.pixel_spacing),
        SliceThickness=spacing,
        SpacingBetweenSlices=spacing,
    )
    plane = item(ImageOrientationPatient=orientation(volume))
    region = [code("76752008", "Breast")]
    anatomy = item(FrameLaterality="B", AnatomicRegionSequence=region)
    rescale = item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
    groups = item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[plane],
        FrameAnatomySequence=[anatomy],
        PixelValueTransformationSequence=[rescale],
        MRImageFrameTypeSequence=[_frame_type()],
    )
    groups.update(_sequence_groups(visit))
    groups.update(_coil_groups())
    return groups


def per_frame(visit: Visit, phases: range) -> Iterator[Dataset]:
    """Yield the functional groups of each frame, phase by phase, feet to head."""
    for position, phase in enumerate(phases, start=1):
        volume = visit.case.phases[phase]
        centre, width = window(volume.array)
        for k in range(len(volume.array)):
            corner = volume.map_indices_to_reference(np.array([[k, 0, 0]]))[0]
            groups = item(
                FrameContentSequence=[_content(visit, phase, position, k)],
                PlanePositionSequence=[item(ImagePositionPatient=decimal(corner))],
                FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=width)],
            )
            if visit.uses_contrast(phases):
                groups.ContrastBolusUsageSequence = [_usage(given=phase > 0)]
            yield groups


def _content(visit: Visit, phase: int, position: int, k: int) -> Dataset:
    start = visit.day + clock(visit.phase_s(phase))
    return item(
        FrameAcquisitionNumber=position,
        FrameReferenceDateTime=start,
        FrameAcquisitionDateTime=start,
        FrameAcquisitionDuration=PHASE_LENGTH_S * 1000,
        TemporalPositionIndex=position,
        StackID=STACK,
        InStackPositionNumber=k + 1,
        DimensionIndexValues=[position, k + 1],
    )


def _usage(*, given: bool) -> Dataset:
    return item(
        ContrastBolusAgentNumber=1,
        ContrastBolusAgentAdministered="YES" if given else "NO",
        ContrastBolusAgentDetected="YES" if given else "NO",
    )


def _frame_type() -> Dataset:
    return item(
        FrameType=FRAME_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1",
    )


def _sequence_groups(visit: Visit) -> Dataset:
    """Return the groups that describe the pulse sequence."""
    protocol = visit.case.site.protocol
    modes = [("STATIC FIELD", "IEC_NORMAL"), ("RF", "IEC_NORMAL")]
    modes.append(("GRADIENT", "IEC_NORMAL"))
    timing = item(
        RepetitionTime=decimal([protocol.repetition_time_ms])[0],
        FlipAngle=decimal([protocol.flip_angle_deg])[0],
        EchoTrainLength=1,
        RFEchoTrainLength=0,
        GradientEchoTrainLength=1,
        SpecificAbsorptionRateSequence=[
            item(
                SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY",
                SpecificAbsorptionRateValue=0.5,
            )
        ],
        GradientOutputType="DB_DT",
        GradientOutput=0.0,
        OperatingModeSequence=[
            item(OperatingModeType=kind, OperatingMode=mode) for kind, mode in modes
        ],
    )
    echo = item(EffectiveEchoTime=protocol.echo_time_ms)
    averages = item(NumberOfAverages="1")
    return item(
        MRTimingAndRelatedParametersSequence=[timing],
        MRFOVGeometrySequence=[_field_of_view(visit)],
        MREchoSequence=[echo],
        MRModifierSequence=[_modifier()],
        MRImagingModifierSequence=[_imaging_modifier(visit)],
        MRAveragesSequence=[averages],
    )


def _field_of_view(visit: Visit) -> Dataset:
    site = visit.case.site
    along_row = site.protocol.phase_encoding is PhaseEncoding.ROW
    phase, frequency = site.rows, site.columns
    if along_row:
        phase, frequency = frequency, phase
    return item(
        InPlanePhaseEncodingDirection="ROW" if along_row else "COLUMN",
        MRAcquisitionFrequencyEncodingSteps=frequency,
        MRAcquisitionPhaseEncodingStepsInPlane=phase,
        MRAcquisitionPhaseEncodingStepsOutOfPlane=site.slices,
        PercentSampling="100",
        PercentPhaseFieldOfView="100",
    )


def _modifier() -> Dataset:
    return item(
        InversionRecovery="NO",
        FlowCompensation="NONE",
        Spoiling="RF",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )


def _imaging_modifier(visit: Visit) -> Dataset:
    protocol = visit.case.site.protocol
    return item(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=LARMOR_MHZ_T * protocol.field_strength_t,
        PixelBandwidth="400",
    )


def _coil_groups() -> Dataset:
    """Return the receive and transmit coils."""
    receive = item(
        ReceiveCoilName="BREAST",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=[
            item(MultiCoilElementName="R", MultiCoilElementUsed="YES"),
            item(MultiCoilElementName="L", MultiCoilElementUsed="YES"),
        ],
    )
    transmit = item(
        TransmitCoilName="BODY",
        TransmitCoilManufacturerName="",
        TransmitCoilType="BODY",
    )
    return item(MRReceiveCoilSequence=[receive], MRTransmitCoilSequence=[transmit])
