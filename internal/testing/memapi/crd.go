/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package memapi

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metajson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"sigs.k8s.io/yaml"
)

// CRD is a compiled CustomResourceDefinition. It is safe for concurrent use by several servers.
// Compilation is slow, so a program should compile a definition once.
type CRD struct{ resource *resource }

// Compile reads a CustomResourceDefinition, YAML or JSON, and compiles its storage
// version's schema and rules. The definition itself is not validated.
func Compile(definition []byte) (*CRD, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, crd); err != nil {
		return nil, fmt.Errorf("decoding a CustomResourceDefinition: %w", err)
	}
	for _, version := range crd.Spec.Versions {
		if version.Storage {
			compiled, err := compile(crd, &version)
			if err != nil {
				return nil, fmt.Errorf("compiling %s: %w", crd.Name, err)
			}
			return compiled, nil
		}
	}
	return nil, fmt.Errorf("compiling %s: no version is the storage version", crd.Name)
}

func compile(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion) (*CRD, error) {
	internal := &apiextensions.CustomResourceValidation{}
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(version.Schema, internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	structural = structural.DeepCopy() // Its defaults are shared with internal otherwise.
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, err
	}
	validator, _, err := crdvalidation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	gv := schema.GroupVersion{Group: crd.Spec.Group, Version: version.Name}
	c := &customResource{
		gvk:        gv.WithKind(crd.Spec.Names.Kind),
		namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		structural: structural,
		schema:     validator,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
		quick:      compileRules(structural, true),
	}
	r := &resource{
		gvr:        gv.WithResource(crd.Spec.Names.Plural),
		kind:       crd.Spec.Names.Kind,
		listKind:   crd.Spec.Names.ListKind,
		singular:   crd.Spec.Names.Singular,
		shortNames: crd.Spec.Names.ShortNames,
		categories: crd.Spec.Names.Categories,
		namespaced: c.namespaced,
		keyPrefix:  "/registry/" + crd.Spec.Group + "/" + crd.Spec.Names.Plural,
		custom:     true,
		generation: true,
		patchTypes: []types.PatchType{types.JSONPatchType, types.MergePatchType},
		decode:     c.decode,
		validate:   c.validate,
		fields:     metadataFields(c.namespaced),
	}
	if r.singular == "" {
		r.singular = strings.ToLower(r.kind)
	}
	if r.listKind == "" {
		r.listKind = r.kind + "List"
	}
	if version.Subresources != nil && version.Subresources.Status != nil {
		r.status = true
	}
	for _, selectable := range version.SelectableFields {
		name := strings.TrimPrefix(selectable.JSONPath, ".")
		r.fields[name] = strings.Split(name, ".")
	}
	return &CRD{resource: r}, nil
}

// customResource applies a schema to objects: defaults, pruning, validation and rules.
type customResource struct {
	gvk        schema.GroupVersionKind
	namespaced bool
	structural *structuralschema.Structural
	schema     crdvalidation.SchemaValidator
	rules      *cel.Validator // nil if there are none
	quick      *rules         // nil if there are none that it knows
}

func (c *customResource) decode(body []byte) (map[string]any, schema.GroupVersionKind, error) {
	var obj map[string]any
	if err := utiljson.Unmarshal(body, &obj); err != nil {
		// A real server looks for the kind first, and says so.
		if _, unrecognized := metajson.DefaultMetaFactory.Interpret(body); unrecognized != nil {
			err = unrecognized
		}
		return nil, schema.GroupVersionKind{}, err
	}
	kind, _ := obj["kind"].(string)
	apiVersion, _ := obj["apiVersion"].(string)
	if kind == "" {
		return nil, schema.GroupVersionKind{}, runtime.NewMissingKindErr(string(body))
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, schema.GroupVersionKind{}, err
	}
	gvk := gv.WithKind(kind)
	meta, found, err := objectmeta.GetObjectMeta(obj, false)
	if err != nil {
		return nil, gvk, err
	}
	if gvk == c.gvk {
		pruning.Prune(obj, c.structural, true)
		defaulting.PruneNonNullableNullsWithoutDefaults(obj, c.structural)
		if err := objectmeta.Coerce(nil, obj, c.structural, false, false); err != nil {
			return nil, gvk, err
		}
	}
	obj["kind"], obj["apiVersion"] = kind, apiVersion
	if found {
		meta.ManagedFields = nil
		if err := objectmeta.SetObjectMeta(obj, meta); err != nil {
			return nil, gvk, err
		}
	}
	if gvk == c.gvk {
		defaulting.Default(obj, c.structural)
	}
	return obj, gvk, nil
}

// validate returns what is wrong with obj, in the order in which a real server finds it. obj replaces old,
// unless old is nil.
func (c *customResource) validate(obj, old map[string]any) field.ErrorList {
	ctx := context.Background()
	if errs := c.validateType(obj); len(errs) > 0 {
		return errs
	}
	meta, errs := objectMetaOf(obj)
	if len(errs) > 0 {
		return errs
	}
	path := field.NewPath("metadata")
	if old == nil {
		errs = validation.ValidateObjectMetaDeclaratively(ctx, operation.Create, meta, nil, c.namespaced, validation.NameIsDNSSubdomain, path, true)
		errs = append(errs, crdvalidation.ValidateCustomResource(nil, obj, c.schema)...)
		errs = append(errs, objectmeta.Validate(ctx, nil, obj, c.structural, false)...)
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, obj)...)
		return append(errs, c.validateRules(ctx, errs, obj, nil)...)
	}
	oldMeta, errs := objectMetaOf(old)
	if len(errs) > 0 {
		return errs
	}
	correlated := common.NewCorrelatedObject(obj, old, &model.Structural{Structural: c.structural})
	errs = validation.ValidateObjectMetaDeclaratively(ctx, operation.Update, meta, oldMeta, c.namespaced, nil, path, true)
	if len(crdvalidation.ValidateCustomResource(nil, obj, c.schema)) > 0 {
		// A field that was invalid before may stay invalid. That check is slower, and unnecessary for a
		// valid object.
		errs = append(errs, crdvalidation.ValidateCustomResourceUpdate(nil, obj, old, c.schema, crdvalidation.WithRatcheting(correlated))...)
	}
	errs = append(errs, objectmeta.Validate(ctx, nil, obj, c.structural, false)...)
	if len(listtype.ValidateListSetsAndMaps(nil, c.structural, old)) == 0 {
		errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, obj)...)
	}
	return append(errs, c.validateRules(ctx, errs, obj, old, cel.WithRatcheting(correlated))...)
}

// validateRules evaluates the CEL rules, unless errs has an error that makes the evaluation impossible.
func (c *customResource) validateRules(ctx context.Context, errs field.ErrorList, obj, old map[string]any, options ...cel.Option) field.ErrorList {
	if c.rules == nil {
		return nil
	}
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		default:
		}
	}
	var previous any // It must be nil, and not an interface with a nil map.
	if old != nil {
		previous = old
	}
	if budget := int64(celconfig.RuntimeCELCostBudget); c.quick != nil && c.quick.hold(ctx, obj, previous, &budget) {
		return nil
	}
	found, _ := c.rules.Validate(ctx, nil, c.structural, obj, previous, celconfig.RuntimeCELCostBudget, options...)
	return found
}

func (c *customResource) validateType(obj map[string]any) field.ErrorList {
	var errs field.ErrorList
	if kind, _ := obj["kind"].(string); kind != c.gvk.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), kind, "must be "+c.gvk.Kind))
	}
	if version, _ := obj["apiVersion"].(string); version != c.gvk.GroupVersion().String() {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), version, "must be "+c.gvk.GroupVersion().String()))
	}
	return errs
}

func objectMetaOf(obj map[string]any) (*metav1.ObjectMeta, field.ErrorList) {
	meta := &metav1.ObjectMeta{}
	fields, ok := obj["metadata"].(map[string]any)
	if !ok {
		return meta, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, meta); err != nil {
		return nil, field.ErrorList{field.Invalid(field.NewPath("metadata"), fields, err.Error())}
	}
	return meta, nil
}
