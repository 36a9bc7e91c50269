"""Labeling configs: which control holds the classes, and with which one readers tag exemplars."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from clinical_backend.errors import LabelingConfigError
from clinical_backend.labelstudio.labeling.exemplar_tags import stands_for_of, steering_of
from clinical_backend.labelstudio.labeling.fields import ImageValue
from clinical_backend.labelstudio.labeling.items import deciding_order
from clinical_backend.labelstudio.labeling.several_findings import Form, several_findings
from clinical_backend.labelstudio.labeling.tags import (
    EXAMPLE,
    ClassControl,
    Tags,
    attributes_of,
    choices_of,
    is_for_other_tools,
    is_per_item,
    parse,
)
from clinical_backend.labelstudio.labeling.views import View, images_of, problem_of, read_views
from clinical_backend.multilabel import any_of, findings_of, is_multilabel, unknown_of
from clinical_backend.text import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from xml.etree.ElementTree import Element

    from clinical_backend.labelstudio.labeling.several_findings import EmptyAnswer, SeveralFindings
    from clinical_backend.study import StudyImage

__all__ = [
    "LESS_LIKE_THIS",
    "MORE_LIKE_THIS",
    "REASON_CONTROL",
    "LabelingScheme",
    "class_controls",
    "has_reason_control",
    "nearest_classes",
    "read_scheme",
]

MORE_LIKE_THIS = "more like this"
LESS_LIKE_THIS = "not like this"
REASON_CONTROL = "reason"
"""Name of the ``TextArea`` that the reason of a queued task is written into, where no answer takes it along."""

_NEAREST = 3  # difflib's own default


@dataclass(frozen=True, slots=True)
class LabelingScheme:
    """What a labeling config asks of its readers, as far as this package uses it.

    Attributes
    ----------
    image_name
        Name of the ``Image`` tag that the class control is about.
    image_field
        Field of a task's data that holds the image's address, such as ``image`` or ``case.image``; text around fields
        as the labeling config writes it, such as ``https://host/$id``. See :meth:`images_of`.
    class_control
        Name of the ``Choices`` that holds the classes.
    classes
        The classes as they stand in annotations, in the order of the config: a choice's ``alias`` where it
        has one, else its ``value``. Where an image may have several of them, the findings.
    exemplar_control
        Name of the ``Choices`` that tags exemplars; ``None`` where there is none.
    more_value, less_value
        Its choices that tag an exemplar and a counter-exemplar; ``None`` where there is none.
    reason_control
        Name of the ``TextArea`` that shows why a task is in the queue; ``None`` where there is none whose text Label
        Studio leaves out of the answer.
    not_learnt
        Names of other controls on images that a person may expect to be learnt, in the order of the config.
    controls
        Names of all controls, repeated ones left out.
    displayed
        What readers are shown of a class that has an alias, and the class.
    several
        How readers say which findings an image has; ``None`` where it has one class.
    stands_for
        Choices of the exemplar control that name a finding, and the finding.
    views
        All ``Image`` tags in the order of the config, where there are several, or one shows a list: a task shows the
        images of all of them.
    per_item, tags_images
        Whether readers say of each image of a list by itself which class it has, and which is an exemplar.
    named, deciding
        With answers for each image: the classes that are looked for by name, and all of them in the order in which
        the first that one of a task's images has decides what the task is.
    """

    image_name: str
    image_field: str
    class_control: str
    classes: tuple[str, ...]
    exemplar_control: str | None = None
    more_value: str | None = None
    less_value: str | None = None
    reason_control: str | None = None
    not_learnt: tuple[str, ...] = ()
    controls: frozenset[str] = field(default=frozenset(), compare=False)
    displayed: Mapping[str, str] = field(default_factory=dict, compare=False)
    several: SeveralFindings | None = None
    stands_for: Mapping[str, str] = field(default_factory=dict)
    views: tuple[View, ...] = ()
    per_item: bool = False
    tags_images: bool = False
    named: tuple[str, ...] = ()
    deciding: tuple[str, ...] = ()

    def of_task(self, labels: Sequence[str]) -> str:
        """Return the label of a task whose images have these labels, at least one."""
        return min(labels, key=self.deciding.index) if self.several is None else any_of(labels)

    @property
    def counts_images(self) -> bool:
        """Whether it depends on how many images have each class which of them decides what a task is."""
        return self.per_item and self.several is None

    def counting(self, counts: Mapping[str, int]) -> LabelingScheme:
        """Return the same, in which of several classes the one decides that fewest images have.

        Parameters
        ----------
        counts
            How many images readers gave each class.
        """
        return replace(self, deciding=deciding_order(self.classes, self.named, counts))

    @property
    def learnt_controls(self) -> frozenset[str]:
        """Names of the controls that are learnt."""
        return frozenset({self.class_control}) if self.several is None else self.several.controls

    def images_of(self, data: Mapping[str, Any], limit: int) -> tuple[StudyImage, ...]:
        """Return the images of a task's data with their addresses, as Label Studio's page resolves them.

        Parameters
        ----------
        data
            Of a task.
        limit
            IMAGES_PER_TASK: of more images, evenly spaced ones are taken.
        """
        return images_of(self.every_view, data, limit)

    def problem_of(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Return why a task's data has no address of an image, and what to do; the values are not named."""
        return problem_of(self.every_view, data)

    @property
    def every_view(self) -> tuple[View, ...]:
        """The ``Image`` tags that a task's images are shown by, also where there is one alone."""
        text = self.image_field if "$" in self.image_field else f"${self.image_field}"
        return self.views or (View(self.image_name, ImageValue(text)),)

    @property
    def shown(self) -> str:
        """What a task shows, as a sentence."""
        if len(self.views) > 1:
            return f"Each task shows the {len(self.views)} images {listed([view.name for view in self.views])}."
        if any(view.is_list for view in self.views):
            return f"Each task shows the list of images in {self.image_field!r}."
        return "Each task shows one image."

    def has(self, label: str) -> bool:
        """Tell whether a label is one of its classes, or says something of its findings alone."""
        named = findings_of(label) | unknown_of(label)
        return named <= set(self.classes) and is_multilabel(label) is (self.several is not None)

    @property
    def learnt(self) -> str:
        """Which control is learnt, and which are not, as a sentence."""
        each = " for each image of a task" if self.per_item else ""
        text = f"Readers choose one of {len(self.classes)} classes{each} in {self.class_control!r}"
        if self.several is not None:
            controls, one = listed(sorted(self.several.controls)), "each image of a task" if each else "an image"
            text = f"Readers say which of {len(self.classes)} findings {one} has in {controls}"
            if self.several.form is not Form.QUESTIONS:
                said = "says that there is none" if self.several.empty_is_none else "says nothing"
                text += f" (an empty answer {said})"
        if self.not_learnt:
            text += f", which is learnt; {listed(self.not_learnt)} {'is' if len(self.not_learnt) == 1 else 'are'} not"
        if each and len(self.views) > 1:
            text += "; beside other Image tags what is said of an image is learnt of its task alone"
        return f"{text}."


def read_scheme(
    label_config: str,
    exemplar_control: str = "exemplar",
    class_control: str | None = None,
    empty_answer: EmptyAnswer = "auto",
    named: Collection[str] = (),
) -> LabelingScheme:
    """Find the classes and the exemplar control in a labeling config.

    Parsed by defusedxml: the official SDK's interface takes two seconds to import, which every server process would
    pay.

    Parameters
    ----------
    label_config
        The project's XML.
    exemplar_control
        Name of the ``Choices`` that tags exemplars. Of its values, the first that reads like a refusal
        ("not like this") tags counter-exemplars, or failing that the second; the first other one tags
        exemplars.
    class_control
        Name of the control that holds the classes; by default the first ``Choices`` on an ``Image`` with
        ``choice="single"`` (the default) that is about the whole image and has the same classes for all tasks. Where
        all such ask yes or no, each asks for a finding. Without any, the first ``Choices`` of which several may be
        ticked, and else the first ``Taxonomy``. One that asks of each image of a list by itself comes after all others.
    empty_answer
        What an answer says that ticks none of several findings. ``auto``: that there is none, unless the config has a
        choice for that, or requires an answer.
    named
        Classes that are looked for by name.

    Raises
    ------
    LabelingConfigError
        When the config is not one that an image classifier can learn from, or has no control of that name.
    """
    tags = Tags(label_config)
    tags.require_image()
    control, others = _class_control(tags, exemplar_control, class_control or None)
    name, image_name = control.name, control.element.get("toName", "")
    views = read_views(tags.images, image_name)
    value = next(view.value for view in views if view.name == image_name)
    image_field = value.fields[0] if value.is_field else value.text
    several = several_findings(control, () if class_control else others, empty_answer)
    classes = choices_of(control.element) if several is None else several.names
    if several is None and len(classes) < 2:
        raise LabelingConfigError(f"The Choices {name!r} has fewer than two classes.", "Add a Choice for each class.")
    tagging = next((element for element in tags.controls if element.get("name") == exemplar_control), None)
    tags_images = tagging is not None and is_per_item(tagging) and tags.shows_list(image_name)
    for_others = tagging is not None and is_for_other_tools(tagging) and not tags_images
    if tagging is not None and (tagging.tag != "Choices" or for_others or tagging.get("toName") != image_name):
        raise LabelingConfigError(
            f"The control {exemplar_control!r} is no Choices on the image {image_name!r}.",
            "Rename it, or name another control in EXEMPLAR_CONTROL.",
        )
    tags_of_exemplars = () if tagging is None else choices_of(tagging)
    stands_for = stands_for_of(tags_of_exemplars, classes)
    more, less = steering_of(tags_of_exemplars, stands_for)
    learnt = {name} if several is None else several.controls
    looked_for = tuple(one for one in classes if one in named and control.is_per_item)
    return LabelingScheme(
        image_name,
        image_field,
        name,
        classes,
        None if tagging is None else exemplar_control,
        more,
        less,
        _reason_control(tags, name, image_name),
        not_learnt=tuple(other.name for other in others if other.holds_classes and other.name not in learnt),
        controls=tags.control_names,
        displayed=_displayed(control.element),
        several=several,
        stands_for=stands_for,
        views=views if len(views) > 1 or views[0].is_list else (),
        per_item=control.is_per_item,
        tags_images=tags_images,
        named=looked_for,
        deciding=deciding_order(classes, looked_for, {}) if control.is_per_item else (),
    )


def class_controls(label_config: str, exemplar_control: str = "exemplar") -> tuple[str, ...]:
    """Return the names of the controls that classes can be learnt from, in the order of the labeling config.

    Raises
    ------
    LabelingConfigError
        When the config cannot be read at all.
    """
    found = Tags(label_config).class_controls(exemplar_control)
    return tuple(control.name for control in found if control.refusal is None)


def nearest_classes(name: str, classes: Sequence[str]) -> str:
    """Return a sentence on which classes a name that none has may mean; empty where none is near.

    A name with commas that was given as plain text arrives as its parts.
    """
    whole = next((one for one in classes if "," in one and name in [part.strip() for part in one.split(",")]), None)
    if whole is not None:
        return f" {whole!r} has a comma: give it as a JSON list, as in {json.dumps([whole], ensure_ascii=False)}."
    plain = {" ".join(one.split()).casefold(): one for one in classes}
    near = [plain[text] for text in get_close_matches(" ".join(name.split()).casefold(), plain, n=_NEAREST)]
    return f" Nearest: {listed(near)}." if near else ""


def has_reason_control(label_config: str) -> bool:
    """Tell whether a labeling config has a text of the name that reasons are written into, whatever it is like."""
    return any(text.get("name") == REASON_CONTROL for text in parse(label_config).iter("TextArea"))


def _class_control(tags: Tags, exemplar_control: str, chosen: str | None) -> tuple[ClassControl, list[ClassControl]]:
    """Return the control that holds the classes, and the others on images."""
    controls = tags.class_controls(exemplar_control)
    fit = [control for control in controls if control.refusal is None]
    if chosen is None:
        expected = [control for control in controls if control.element.tag == "Choices"] or controls
        if not fit:
            refusal = expected[0].refusal if expected else None
            raise refusal or tags.without_classes(exemplar_control)
        whole = [control for control in fit if not control.is_per_item] or fit
        single = [control for control in whole if not control.allows_several]
        found = (single or sorted(whole, key=lambda control: control.element.tag))[0]
    else:
        named = next((control for control in controls if control.name == chosen), None)
        if named is None or named.refusal is not None:
            problem = f"The labeling config has no control {chosen!r} on an Image." if named is None else ""
            if chosen == exemplar_control:
                problem = f"The control {chosen!r} tags exemplars, and cannot hold the classes."
            names = f"Name in CLASS_CONTROL one of {listed([c.name for c in fit])}." if fit else EXAMPLE
            refusal = named.refusal if named is not None else None
            raise LabelingConfigError(problem or (refusal.problem if refusal else ""), names)
        found = named
    return found, [control for control in controls if control is not found]


def _reason_control(tags: Tags, class_control: str, image_name: str) -> str | None:
    texts = [element for element in tags.controls if element.tag == "TextArea" and not is_for_other_tools(element)]
    for_reason = [text for text in texts if text.get("name") == REASON_CONTROL and text.get("toName") == image_name]
    return REASON_CONTROL if any(_is_left_out_of_answers(text, class_control) for text in for_reason) else None


def _displayed(control: Element) -> dict[str, str]:
    found = [(element.get("value"), element.get("alias")) for element in control.iter("Choice")]
    return {value: alias for value, alias in found if value and alias and value != alias}


def _is_left_out_of_answers(text: Element, class_control: str) -> bool:
    """Tell whether Label Studio leaves a control's value out of an answer that chooses a class.

    It shows the value all the same (``canBeSubmitted`` in its editor; tried in a browser).
    """
    flags = {key: value.strip() for key, value in attributes_of(text).items()}
    hidden = flags.get("visiblewhen", "").lower() == "choice-unselected"
    of_class = flags.get("whentagname", class_control) == class_control  # without a name, any choice counts
    return hidden and of_class and "whenchoicevalue" not in flags
