"""Networks with two towers, tiny and with random weights, as their own libraries save them and score with them."""

import json

import open_clip
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.learner.backbones.published import MEAN, STD, images, normalised

SIZE = 64
TEXTS = ["a blood cell", "normal chest radiograph", "fracture of the rib"]
WORDS = ["[PAD]", "[BOS]", "[EOS]", *sorted({word for text in TEXTS for word in text.split()})]
VISION = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIZE,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write_tokenizer(folder):
    codes = {word: code for code, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(codes, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A [EOS]", None, [("[BOS]", 1), ("[EOS]", 2)])
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[PAD]"
    )
    whole.save_pretrained(folder)
    return whole


def write_transformers(folder, model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.logit_scale.data.fill_(2.0)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    tokenizer = write_tokenizer(folder)
    siglip = isinstance(model, transformers.SiglipModel)
    tokens = tokenizer(
        TEXTS, padding="max_length" if siglip else True, truncation=True, max_length=8, return_tensors="pt"
    )
    given = {"input_ids": tokens.input_ids} | ({} if siglip else {"attention_mask": tokens.attention_mask})
    with torch.inference_mode():
        output = model(pixel_values=normalised(images(SIZE)), **given)
    bias = model.logit_bias.item() if siglip else 0.0
    return output.logits_per_image.numpy() - bias


def write_clip(folder):
    config = transformers.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=16)
    return write_transformers(folder, transformers.CLIPModel(config))


def write_siglip(folder):
    return write_transformers(
        folder, transformers.SiglipModel(transformers.SiglipConfig(vision_config=VISION, text_config=TEXT))
    )


def write_open_clip(folder, model, config):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.logit_scale.data.fill_(2.0)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    described = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    write_tokenizer(folder)
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.inference_mode():
        seen = model.eval().encode_image(normalised(images(config["vision_cfg"]["image_size"])), normalize=True)
        read = model.encode_text(tokens, normalize=True)
        return (model.logit_scale.exp() * seen @ read.T).numpy()


def write_plain(folder):
    vision = {"layers": 2, "width": 24, "head_width": 12, "patch_size": 16, "image_size": SIZE}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}  # its own vocabulary
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    return write_open_clip(folder, open_clip.CLIP(**json.loads(json.dumps(config))), config)


def write_biomedclip(folder):
    """As BiomedCLIP is: an image tower of timm's, and a BERT whose description is in another repository."""
    elsewhere = folder.parent / "elsewhere"
    bert = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2, "intermediate_size": 96}
    transformers.BertConfig(**bert, vocab_size=len(WORDS), max_position_embeddings=12).save_pretrained(elsewhere)
    text = {"hf_tokenizer_name": "publisher/elsewhere", "context_length": 8}
    text |= {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler"}
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    here = {**text, "hf_model_name": str(elsewhere), "hf_model_pretrained": False}
    made = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": here}
    model = open_clip.CustomTextCLIP(**json.loads(json.dumps(made)))
    config = {**made, "text_cfg": {**text, "hf_model_name": "publisher/elsewhere"}}
    return write_open_clip(folder, model, config)
