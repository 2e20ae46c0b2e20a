"""Write phases of a synthetic examination as one Enhanced MR instance (PS3.3 A.36).

Frames run phase by phase and feet to head within a phase; the dimensions are time
and position in the stack.
"""

from pathlib import Path

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from plugin.synthetic.frames import (
    FRAME_TYPE,
    NUCLEUS,
    code,
    item,
    per_frame,
    shared,
    suppression,
)
from plugin.synthetic.headers import (
    PHASE_LENGTH_S,
    SeriesPlan,
    Visit,
    clock,
    series_header,
    set_pixels,
)

DIMENSIONS = ("TemporalPositionIndex", "InStackPositionNumber")


def write_multiframe(visit: Visit, path: Path, plan: SeriesPlan, phases: range) -> None:
    """Write ``phases`` of the examination as one instance."""
    volumes = [visit.case.phases[phase] for phase in phases]
    header = series_header(visit, plan)
    header.SOPClassUID = EnhancedMRImageStorage
    header.SOPInstanceUID = visit.uid("instance", plan.number, "multi-frame")
    header.InstanceNumber = 1
    header.AcquisitionNumber = 1
    header.ContentTime = clock(plan.start_s + PHASE_LENGTH_S)
    header.AcquisitionDateTime = visit.day + clock(plan.start_s)
    header.AcquisitionDuration = PHASE_LENGTH_S * len(volumes)
    header.NumberOfFrames = sum(len(volume.array) for volume in volumes)
    set_pixels(header, np.concatenate([volume.array for volume in volumes]))
    header.update(_image_type())
    header.update(_pulse_sequence(visit))
    header.update(_dimensions(visit))
    if plan.contrast:
        header.ContrastBolusAgentSequence = [_contrast_agent()]
    header.SharedFunctionalGroupsSequence = [shared(visit, volumes[0])]
    header.PerFrameFunctionalGroupsSequence = list(per_frame(visit, phases))
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def _image_type() -> Dataset:
    """Return the Enhanced MR Image module (PS3.3 C.8.13.1)."""
    return item(
        ImageType=FRAME_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1",
        ContentQualification="RESEARCH",
        ResonantNucleus=NUCLEUS,
        KSpaceFiltering="NONE",
        ApplicableSafetyStandardAgency="IEC",
        PresentationLUTShape="IDENTITY",
        LossyImageCompression="00",
        AcquisitionContextSequence=[],
    )


def _pulse_sequence(visit: Visit) -> Dataset:
    """Return the MR Pulse Sequence module (PS3.3 C.8.13.4): 3-D gradient echo."""
    return item(
        PulseSequenceName="gre3d",
        MagneticFieldStrength=visit.case.site.protocol.field_strength_t,
        MRAcquisitionType="3D",
        EchoPulseSequence="GRADIENT",
        MultiPlanarExcitation="NO",
        PhaseContrast="NO",
        TimeOfFlightContrast="NO",
        SteadyStatePulseSequence="NONE",
        EchoPlanarPulseSequence="NO",
        SaturationRecovery="NO",
        SpectrallySelectedSuppression=suppression(visit),
        OversamplingPhase="NONE",
        GeometryOfKSpaceTraversal="RECTILINEAR",
        RectilinearPhaseEncodeReordering="LINEAR",
        SegmentedKSpaceTraversal="SINGLE",
        NumberOfKSpaceTrajectories=1,
        CoverageOfKSpace="FULL",
    )


def _dimensions(visit: Visit) -> Dataset:
    """Return the Multi-frame Dimension module (PS3.3 C.7.6.17)."""
    organization = visit.uid("dimensions")
    group = tag_for_keyword("FrameContentSequence")
    index = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=group,
            DimensionDescriptionLabel=keyword,
        )
        for keyword in DIMENSIONS
    ]
    return item(
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=organization)],
        DimensionIndexSequence=index,
    )


def _contrast_agent() -> Dataset:
    """Return one item of the Enhanced Contrast/Bolus module (PS3.3 C.7.6.4b)."""
    agent = code("51943008", "Gadolinium")
    agent.update(
        item(
            ContrastBolusAgentNumber=1,
            ContrastBolusAdministrationRouteSequence=[
                code("47625008", "Intravenous route")
            ],
            ContrastBolusIngredientCodeSequence=[code("51943008", "Gadolinium")],
            ContrastBolusVolume=None,
            ContrastBolusIngredientConcentration=None,
        )
    )
    return agent
