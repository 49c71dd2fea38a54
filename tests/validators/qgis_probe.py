"""What QGIS makes of files: run by QGIS's own Python as `qgis_probe.py PNG WIDTH FILE...`; the last line is JSON.

The layers are drawn above each other in one picture, the first file and the last layer of a file on top.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsFeatureRequest,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def open_layers(path):
    if path.endswith(".tif"):
        return [QgsRasterLayer(path, os.path.basename(path))]
    found = QgsProviderRegistry.instance().providerMetadata("ogr").querySublayers(path)
    names = [layer.uri() for layer in found if layer.name() != "layer_styles"][::-1]
    return [QgsVectorLayer(uri, uri.rsplit("/", 1)[-1], "ogr") for uri in names or [path]]


def describe_raster(layer):
    renderer = layer.renderer()
    facts = {"bands": layer.bandCount(), "renderer": renderer.type()}
    if isinstance(renderer, QgsPalettedRasterRenderer):
        facts["classes"] = {int(c.value): [c.label, c.color.getRgb()[:3], c.color.alpha()] for c in renderer.classes()}
    facts["nodata"] = layer.dataProvider().sourceNoDataValue(1)
    return facts


def describe_vector(layer):
    renderer = layer.renderer()
    facts = {
        "features": layer.featureCount(),
        "read": sum(f.hasGeometry() and f.geometry().isGeosValid() for f in layer.getFeatures()),
        "geometry": layer.geometryType(),
        "fields": [[f.name(), f.typeName()] for f in layer.fields()],
        "renderer": renderer.type(),
        "index": layer.hasSpatialIndex(),
        "metadata": layer.metadata().abstract(),
    }
    box = layer.extent()
    quarter = QgsRectangle(box.xMinimum(), box.yMinimum(), box.center().x(), box.center().y())
    facts["quarter"] = sum(1 for _ in layer.getFeatures(QgsFeatureRequest().setFilterRect(quarter)))
    if isinstance(renderer, QgsCategorizedSymbolRenderer):
        facts["attribute"] = renderer.classAttribute()
        facts["categories"] = {str(c.value()): c.symbol().color().getRgb()[:3] for c in renderer.categories()}
        facts["top"] = {
            str(c.value()): c.symbol().symbolLayers()[-1].color().getRgb()[:3] for c in renderer.categories()
        }
    return facts


def draw(layers, width, path):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    crs = next(layer.crs() for layer in layers)
    settings.setDestinationCrs(crs)
    extent = settings.fullExtent()
    settings.setExtent(extent)
    settings.setBackgroundColor(QColor(255, 255, 255))
    settings.setOutputSize(QSize(width, max(1, round(width * extent.height() / extent.width()))))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(path)
    step = max(1, image.width() // 200)
    colors = {image.pixel(x, y) for x in range(0, image.width(), step) for y in range(0, image.height(), step)}
    return {"errors": [e.message for e in job.errors()], "colors": len(colors)}


def main(picture, width, *paths):
    messages = []
    application = QgsApplication([], False)
    application.initQgis()
    application.messageLog().messageReceived.connect(lambda text, tag, level: messages.append(f"{tag}: {text}"))
    result = {"gdal": gdal.__version__, "drivers": [], "layers": []}
    result["drivers"] = [gdal.GetDriver(i).ShortName for i in range(gdal.GetDriverCount())]
    layers = [layer for path in paths for layer in open_layers(path)]
    for layer in layers:
        facts = {"name": layer.name(), "valid": layer.isValid()}
        if layer.isValid():
            facts["crs"] = layer.crs().authid()
            facts |= describe_raster(layer) if isinstance(layer, QgsRasterLayer) else describe_vector(layer)
        result["layers"].append(facts)
    valid = [layer for layer in layers if layer.isValid()]
    QgsProject.instance().addMapLayers(valid, False)
    if valid:
        result["picture"] = draw(valid, int(width), picture)
    result["messages"] = messages
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)  # tearing QGIS down without its event loop crashes now and then


main(*sys.argv[1:])
